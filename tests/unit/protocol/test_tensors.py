"""Quantising is bounded, differencing is exact, and damage is noticed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from livelens.protocol import tensors
from livelens.protocol.messages import Tensor

DTYPES = st.sampled_from([np.int8, np.uint8, np.uint16, np.int32, np.uint32, np.float16, np.float32])
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=9)


@st.composite
def sequences(draw: st.DrawFn) -> list[np.ndarray]:
    """Arrays that follow each other: mostly the same shape, some with few changes, some that grow."""
    dtype = draw(DTYPES)
    current = draw(hnp.arrays(dtype, draw(SHAPES)))
    result = [current]
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.booleans()) and current.size:
            current = current.copy()
            for index in draw(st.lists(st.integers(0, current.size - 1), max_size=4)):
                current.reshape(-1)[index] = draw(hnp.from_dtype(np.dtype(dtype)))
        else:
            current = draw(hnp.arrays(dtype, draw(SHAPES)))
        result.append(current)
    return result


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(sequences())
def test_a_sequence_of_differences_rebuilds_every_array_bit_for_bit(arrays: list[np.ndarray]) -> None:
    """NaN payloads and -0.0 included; the wire is crossed for real."""
    sent_base = held = None
    for array in arrays:
        wire = msgspec.msgpack.encode(tensors.encode_tensor(array, sent_base))
        held = tensors.reconstruct(msgspec.msgpack.decode(wire, type=Tensor), held)
        assert same_bits(held, array)
        assert held.flags.aligned and held.flags.owndata and held.flags.writeable
        sent_base = array


@given(sequences(), st.data())
def test_a_joiner_at_any_point_starts_from_a_keyframe_and_stays_equal(
    arrays: list[np.ndarray], data: st.DataObject
) -> None:
    """A viewer that joins at step k gets k whole and follows by differences."""
    start = data.draw(st.integers(0, len(arrays) - 1))
    held = tensors.reconstruct(tensors.encode_tensor(arrays[start]))
    for before, array in zip(arrays[start:], arrays[start + 1 :], strict=False):
        held = tensors.reconstruct(tensors.encode_tensor(array, before), held)
        assert same_bits(held, array)


@given(sequences())
def test_a_missed_step_is_noticed_or_harmless(arrays: list[np.ndarray]) -> None:
    """Applied to the wrong base, a difference either rebuilds the very array or is refused."""
    for first, missed, array in zip(arrays, arrays[1:], arrays[2:], strict=False):
        tensor = tensors.encode_tensor(array, missed)
        try:
            rebuilt = tensors.reconstruct(tensor, first)
        except tensors.TensorError:
            continue
        assert same_bits(rebuilt, array)


def test_few_changes_are_sent_sparse_and_many_whole() -> None:
    """The smaller form wins."""
    base = np.zeros(1000, np.int8)
    few, many = base.copy(), np.ones(1000, np.int8)
    few[3] = 5
    assert tensors.encode_tensor(few, base).indices is not None
    assert len(tensors.encode_tensor(few, base).data) == 1
    assert tensors.encode_tensor(many, base).indices is None


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    )
)
def test_companding_is_within_half_a_step_and_keeps_signs(activations: np.ndarray) -> None:
    """The error of a code is at most half the distance to its neighbours, on the square-root scale."""
    codes, scale = tensors.compand_int8(activations)
    assert codes.dtype == np.int8 and scale.dtype == np.float32
    root = np.sqrt(np.abs(activations.astype(np.float64)) / np.where(scale > 0, scale, 1)[:, None].astype(np.float64))
    assert np.all(np.abs(np.abs(codes) - 127 * root) <= 0.5 + 1e-4)
    assert np.all((codes == 0) | (np.sign(codes) == np.sign(activations)))
    rebuilt = tensors.expand_int8(codes, scale)
    assert np.all(np.abs(rebuilt - activations) <= (1 / 127 + 1e-3) * scale[:, None] + 1e-30)


def test_non_finite_activations_are_flagged_and_do_not_spoil_the_scale() -> None:
    """NaN and infinity become -128; the finite rest is scaled as if they were not there."""
    codes, scale = tensors.compand_int8(np.array([[1.0, np.nan, -np.inf, -4.0]], np.float32))
    assert scale.tolist() == [4.0]
    assert codes.tolist() == [[64, -128, -128, -127]]
    assert np.isnan(tensors.expand_int8(codes, scale)[0, 1:3]).all()


def test_attention_up_to_512_keys_is_whole_and_above_it_the_strongest_64() -> None:
    """Long rows name their keys, ascending, and what is left over."""
    rng = np.random.default_rng(0)
    short = rng.dirichlet(np.ones(512), (2, 3)).astype(np.float32)
    assert set(tensors.quantise_attention(short)) == {"attention"}
    assert np.abs(tensors.quantise_attention(short)["attention"] / 255 - short).max() <= 0.5 / 255 + 1e-6
    long = rng.dirichlet(np.full(513, 0.05), (2, 3)).astype(np.float32)
    packed = tensors.quantise_attention(long)
    keys = packed["attention_keys"].astype(int)
    assert packed["attention"].shape == keys.shape == (2, 3, 64)
    assert (np.diff(keys, axis=-1) > 0).all()
    kept = np.take_along_axis(long, keys, -1)
    assert kept.min(-1) == pytest.approx(np.sort(long, -1)[..., -64])
    assert np.abs(packed["attention_rest"] / 255 - (1 - kept.sum(-1))).max() <= 0.5 / 255 + 1e-4


def test_float16_that_would_overflow_stays_float32() -> None:
    """Some models' residual streams pass 65504."""
    assert tensors.to_float16(np.array([65504.0, np.inf], np.float32)).dtype == np.float16
    assert tensors.to_float16(np.array([70000.0], np.float32)).dtype == np.float32


@given(hnp.arrays(np.float32, st.integers(0, 9)))
def test_shortened_floats_are_within_two_to_the_minus_16_and_end_in_a_zero_byte(values: np.ndarray) -> None:
    """The zero bytes are what compresses; NaN, infinities and the largest floats survive as they are."""
    short = tensors.shorten_float32(values)
    changed = short.view(np.uint32) != values.view(np.uint32)
    finite = np.isfinite(values)
    assert not changed[~finite].any()
    normal = finite & (np.abs(values) >= np.finfo(np.float32).tiny)
    assert np.all(
        np.abs(short[normal].astype(float) - values[normal]) <= 2.0**-16 * np.abs(values[normal].astype(float))
    )
    assert np.all(short.view(np.uint32)[changed] & 0xFF == 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [5]}, "do not fill"),
        ({"shape": [-4]}, "negative"),
        ({"crc32": 1}, "checksum"),
        ({"indices": b"\0\0\0\0"}, "base"),
    ],
)
def test_a_tensor_that_does_not_fit_its_header_is_refused(change: dict[str, object], message: str) -> None:
    """Every refusal is a TensorError that says what differs."""
    tensor = msgspec.structs.replace(tensors.encode_tensor(np.arange(4, dtype=np.int8)), **change)
    with pytest.raises(tensors.TensorError, match=message):
        tensors.reconstruct(tensor)


def test_a_sparse_tensor_that_points_past_its_end_is_refused() -> None:
    """An index is checked before it is used."""
    tensor = Tensor("int8", [4], b"\1", 0, (4).to_bytes(4, "little"))
    with pytest.raises(tensors.TensorError, match="past its end"):
        tensors.reconstruct(tensor, np.zeros(4, np.int8))
