"""Frames cross the wire unchanged, and hostile bytes raise CodecError and nothing else."""

from __future__ import annotations

import resource
import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livelens.protocol import codec, tensors
from livelens.protocol import messages as m

PAUSE = m.Pause(1, "r")
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
NON_FINITE = [float("nan"), float("inf"), float("-inf")]


def start(**sampling: object) -> bytes:
    return msgpack.packb({"type": "start_run", "request_id": 1, "prompt": "x", "sampling": sampling})


def interventions(component: dict[str, object], **spec: object) -> bytes:
    entry = {"intervention_id": "i", "operation": "scale", "components": [component], **spec}
    return msgpack.packb({"type": "set_interventions", "request_id": 1, "run_id": "r", "interventions": [entry]})


@given(st.binary(max_size=300))
@settings(max_examples=2000)
def test_random_bytes_raise_only_codec_errors(data: bytes) -> None:
    """Any bytes, in both directions."""
    for decode in (codec.decode_command, codec.decode_event):
        try:
            decode(data)
        except codec.CodecError as error:
            assert error.code and str(error)


def test_text_that_is_no_utf8_is_refused_in_both_directions() -> None:
    """msgspec says so with Python's own UnicodeDecodeError."""
    wrong = b"\xa9" * 5
    event = codec.encode_event(m.Acknowledged(1)).replace(b"acknowledged", b"ac" + wrong + b"edged")
    command = codec.encode_command(m.Pause(1, "r" * 5)).replace(b"r" * 5, wrong)
    for decode, frame in ((codec.decode_event, event), (codec.decode_command, command)):
        assert wrong in frame
        with pytest.raises(codec.CodecError):
            decode(frame)


@given(ANYTHING)
@settings(max_examples=2000)
def test_random_msgpack_raises_only_codec_errors(value: object) -> None:
    """Well-formed msgpack of anything, bare and with a real tag."""
    payloads = [value, {"type": "start_run", "request_id": value, "prompt": value, "sampling": value}]
    payloads.append({"type": "set_interventions", "request_id": 1, "run_id": "r", "interventions": value})
    for payload in payloads:
        try:
            decoded = codec.decode_command(msgpack.packb(payload))
        except codec.CodecError:
            continue
        assert decoded == m.SetInterventions(1, "r", [])  # the one payload here that can be well formed


@pytest.mark.parametrize("value", NON_FINITE)
@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_non_finite_sampling_is_refused(name: str, value: float) -> None:
    """msgspec's own range checks let NaN through."""
    with pytest.raises(codec.CodecError):
        codec.decode_command(start(**{name: value}))


@pytest.mark.parametrize("value", NON_FINITE)
def test_non_finite_amount_is_refused(value: float) -> None:
    """A NaN factor would make every logit NaN."""
    with pytest.raises(codec.CodecError):
        codec.decode_command(interventions({"kind": "head", "layer": 0, "index": 0}, amount=value))


@pytest.mark.parametrize("bad", [-1, 1.0, 1.5, True, "1", None, float("nan"), 2**31, [0], {}])
@pytest.mark.parametrize("name", ["layer", "index"])
def test_an_index_is_a_small_non_negative_integer(name: str, bad: object) -> None:
    """Never a float, a bool, a string, a slice or a negative number."""
    component = {"kind": "head", "layer": 0, "index": 0, name: bad}
    with pytest.raises(codec.CodecError) as caught:
        codec.decode_command(interventions(component))
    assert name in str(caught.value)


@pytest.mark.parametrize("command", ["nonsense", "Pause", "", 7])
def test_an_unknown_message_is_refused_by_name(command: object) -> None:
    """The answer says which type was not known."""
    with pytest.raises(codec.CodecError) as caught:
        codec.decode_command(msgpack.packb({"type": command, "request_id": 1, "run_id": "r"}))
    assert caught.value.code == "bad_command"


def test_an_unknown_field_is_refused() -> None:
    """A typo in a command must not be taken as a default."""
    with pytest.raises(codec.CodecError, match="recompute_form"):
        codec.decode_command(
            msgpack.packb(
                {"type": "set_interventions", "request_id": 1, "run_id": "r", "interventions": [], "recompute_form": 3}
            )
        )


@pytest.mark.parametrize("field", ["recompute_form", "interventions", "type"])
def test_a_refusal_names_the_command_that_it_refuses(field: str) -> None:
    """A viewer that waits for an answer gets it, wherever the mistake is and whatever stands before the id."""
    wrong = {field: [{"kind": 7}] * 3, "run_id": "r", "request_id": 41}
    command = {"type": "set_interventions", "interventions": [], **wrong}
    with pytest.raises(codec.CodecError) as caught:
        codec.decode_command(msgpack.packb(command))
    assert (caught.value.code, caught.value.request_id) == ("bad_command", 41)


@pytest.mark.parametrize("wrong", [-1, 2**53, 2**64 - 1, 1.5, True, "1", None, [1], {"request_id": 1}])
def test_an_id_that_is_none_is_not_echoed(wrong: object) -> None:
    """Nor is anything that only looks like one; what is not msgpack to its end has none."""
    with pytest.raises(codec.CodecError) as caught:
        codec.decode_command(msgpack.packb({"type": "pause", "request_id": wrong, "run_id": "r"}))
    assert caught.value.request_id is None
    for cut in (msgpack.packb({"type": "nonsense", "request_id": 1})[:-1], msgpack.packb([1]), b"\x01"):
        with pytest.raises(codec.CodecError) as caught:
            codec.decode_command(cut)
        assert caught.value.request_id is None


@given(ANYTHING, st.integers(0, 2**53 - 1))
@settings(max_examples=500)
def test_an_id_is_found_beside_anything(value: object, request_id: int) -> None:
    """Typed to the end: what is passed over is not built, and raises nothing."""
    frame = msgpack.packb({"type": "pause", "request_id": request_id, "run_id": "r", "more": value})
    with pytest.raises(codec.CodecError) as caught:
        codec.decode_command(frame)
    assert caught.value.request_id == request_id


def bombs() -> list[bytes]:
    flat = [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
    nested = [b"\xdd\x00\x00\xff\xff" * depth for depth in (10, 100, 1000, 10000)]
    deep = [head * 60000 for head in (b"\x91", b"\x81\xa1a", b"\xdc\x00\x01")]
    tagged = msgpack.packb({"type": "start_run", "request_id": 1, "prompt": "x"})[:-1] + b"\xdb\xff\xff\xff\xff"
    zeros = [b"\xdd\x00\x00\xff\x00" + b"\x90" * 65280, b"\xdd\x00\x00\xff\x00" + b"\x80" * 65280]
    numbered = b"\x82\xaarequest_id\x01\xa1x"  # an id that can be read, then what cannot
    extension = [
        *(numbered + bomb for bomb in (flat[0], flat[1], nested[3], *deep)),
        b"\xc9\xff\xff\xff\xff\x01",
        msgpack.packb(msgpack.ExtType(5, b"x" * 100)),
        b"\xc7\x0c\xff" + struct.pack(">I", 0) + struct.pack(">q", 2**62),
    ]
    return [*flat, *nested, *deep, tagged, *zeros, *extension]


@pytest.mark.parametrize("bomb", bombs(), ids=lambda b: f"{b[:6].hex()}_{len(b)}")
def test_an_allocation_bomb_is_refused_without_allocating(bomb: bytes) -> None:
    """At most the frame limit is sent, so every bomb here is cut to it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        with pytest.raises(codec.CodecError):
            codec.decode_command(bomb[: m.MAX_COMMAND_BYTES])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


def test_an_oversized_command_is_refused_before_it_is_parsed() -> None:
    """The limit is in the answer."""
    with pytest.raises(codec.CodecError, match="65536") as caught:
        codec.decode_command(b"\x90" * (m.MAX_COMMAND_BYTES + 1))
    assert caught.value.code == "frame_too_large"


def test_every_command_and_event_survives_the_wire() -> None:
    """Bit-exact round trip, small frames plain and large ones packed."""
    commands = [
        PAUSE,
        m.StartRun(2, "héllo", True, m.Sampling(temperature=0.5)),
        m.Subscribe(3, ["neurons"], False),
        m.SetInterventions(4, "r", [m.InterventionSpec("i", "zero", [m.Component("mlp", 2)])], "recompute", 3, True),
    ]
    for command in commands:
        assert codec.decode_command(codec.encode_command(command)) == command
    noise = np.random.default_rng(0).integers(-3, 3, (30, 400)).astype(np.int8)
    step = m.Step(
        run_id="r",
        seq=0,
        pos=0,
        token_id=5,
        text="a",
        revision=0,
        server_ns=1,
        tensors=m.StepTensors(neurons=tensors.encode_tensor(noise)),
    )
    frame = codec.encode_event(step)
    assert frame[0] == codec.ZSTD and len(frame) < noise.nbytes
    assert codec.decode_event(frame) == step
    small = codec.encode_event(m.Acknowledged(1))
    assert small[0] == codec.PLAIN and codec.decode_event(small) == m.Acknowledged(1)


def test_what_we_write_is_what_an_independent_msgpack_reads() -> None:
    """The `msgpack` package sees the same names and values."""
    plain = codec.encode_event(m.ErrorReport("code", "why", 3))[1:]
    assert msgpack.unpackb(plain) == {
        "type": "error_report",
        "code": "code",
        "message": "why",
        "request_id": 3,
        "run_id": None,
    }
    assert msgpack.unpackb(codec.encode_command(PAUSE)) == {"type": "pause", "request_id": 1, "run_id": "r"}


def test_a_newer_minor_version_may_add_fields_to_events() -> None:
    """Additive changes must not break an older reader."""
    frame = b"\x00" + msgpack.packb({"type": "pong", "request_id": 1, "server_ns": 2, "new_field": [1]})
    assert codec.decode_event(frame) == m.Pong(1, 2)
