"""The number of cores is put back, whatever happens inside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from livelens.model.threads import narrow, wide


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Two torch threads, and what there was before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_narrow_is_one_core_and_wide_all_within_it() -> None:
    with narrow():
        assert torch.get_num_threads() == 1
        with wide():
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 1
        with narrow():
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_alone_wide_changes_nothing_and_narrow_can_be_switched_off() -> None:
    with wide(), narrow(when=False):
        assert torch.get_num_threads() == 2


def test_errors_leave_the_number_as_it_was() -> None:
    with pytest.raises(KeyError), narrow(), wide():
        raise KeyError
    assert torch.get_num_threads() == 2
    with wide():
        assert torch.get_num_threads() == 2
