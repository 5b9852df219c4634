"""A page's message that came while a cell awaits is answered, or the page would wait with the next."""

from __future__ import annotations

from types import SimpleNamespace

import ipywidgets
import pytest

from livelens.notebook import heard


def test_whoever_sent_a_state_is_told_that_it_was_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where what hears it fails; without a kernel there is nobody to tell."""
    told: list[tuple[object, ...]] = []

    def send_response(*message: object, channel: str) -> None:
        told.append((*message, channel))

    def fails(_: object) -> None:
        raise RuntimeError("the callback failed")

    slider = heard.heard(ipywidgets.IntSlider())
    slider.set_state({"value": 3})
    assert slider.value == 3 and not told
    kernel = SimpleNamespace(iopub_socket="iopub", send_response=send_response)
    monkeypatch.setattr(heard, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    slider.set_state({"value": 4})
    assert told == [("iopub", "status", {"execution_state": "idle"}, "shell")]
    slider.observe(fails, names=["value"])
    with pytest.raises(RuntimeError):
        slider.set_state({"value": 5})
    assert len(told) == 2
