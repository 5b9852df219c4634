"""The address that is printed, and the names that a server answers to."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers

from livelens.transport.security import AccessPolicy, Refusal

TOKEN = "a~token._-0123456789"


def policy(host: str) -> AccessPolicy:
    return AccessPolicy(host=host, port=8765, token=TOKEN, base_url="/lens")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("::", "[::1]"),
        ("0:0:0:0:0:0:0:0", "[::1]"),
        ("[::1]", "[::1]"),
        ("10.1.2.3", "10.1.2.3"),
        ("box.example", "box.example"),
    ],
)
def test_the_printed_address_can_be_opened_on_this_machine(host: str, name: str) -> None:
    """And the server answers to the name in it."""
    printed = policy(host).page_url()
    assert printed == f"http://{name}:8765/lens/?token={TOKEN}"
    assert not isinstance(policy(host).check_host(Headers({"Host": f"{name}:8765"})), Refusal)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"])
def test_every_address_is_no_name_to_be_called_by(host: str) -> None:
    for called in ("0.0.0.0:8765", "[::]:8765"):
        refusal = policy(host).check_host(Headers({"Host": called}))
        assert isinstance(refusal, Refusal) and refusal.status == 403
