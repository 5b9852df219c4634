"""Frames: msgpack out, typed and bounded decoding in.

A frame from the server is one byte that names the packing, then the body: 0x00 msgpack, 0x01
zstd of msgpack. Per-message websocket compression is off (a 1 KB deflated frame becomes a 1 MiB
bomb before anyone can look at it); zstd over the whole frame is taken where it pays. Large tensors
start zstd blocks of their own, so that each is coded by its own statistics: 4 % less than one pass.
A frame from a viewer is bare msgpack of one command, decoded straight into its typed class, so an
allocation bomb is refused at its first wrong byte.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import msgspec
import zstandard

from livelens.protocol.messages import MAX_COMMAND_BYTES, Command, Event, Step, StepTensors
from livelens.protocol.vocabulary import RequestId

PLAIN: Final = 0
ZSTD: Final = 1
_WORTH_COMPRESSING_BYTES: Final = 1024
_LARGE_TENSOR_BYTES: Final = 4096
_BLOCK_BYTES: Final = 16 * 1024
# Activations are nearly noise: what pays is their entropy coding. A longer least match keeps the search
# from breaking it up; of the strategies tried on real frames this one is the smallest below 1 ms.
_COMPRESSION: Final = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_LAZY2, min_match=6, window_log=17, hash_log=15, chain_log=15, search_log=3
)
_MAX_FRAME_BYTES: Final = 256 * 1024 * 1024

_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


class CodecError(ValueError):
    """Bytes that are not one message of this protocol; `code` is stable, the text says what to do.

    request_id: of the command that was refused, where it can be read without decoding the rest.
    """

    def __init__(self, code: str, message: str, *, request_id: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


def encode_event(event: Event) -> bytes:
    """One event as one frame. Safe to call from any thread."""
    body = _encoder.encode(event)
    if len(body) >= _WORTH_COMPRESSING_BYTES:
        packed = _compressed(body, _block_starts(body, event))
        if len(packed) < len(body):
            return bytes((ZSTD,)) + packed
    return bytes((PLAIN,)) + body


def _block_starts(body: bytes, event: Event) -> list[int]:
    """Where in `body` a zstd block should begin: about each large tensor, and every so often within it."""
    starts, end = [0], 0
    tensors = event.tensors if isinstance(event, Step) else StepTensors()
    for name in tensors.__struct_fields__:
        tensor = getattr(tensors, name)
        if tensor is None or len(tensor.data) < _LARGE_TENSOR_BYTES:
            continue
        begin = body.index(tensor.data, end)  # fields are encoded in order
        end = begin + len(tensor.data)
        starts += [*range(begin, end, _BLOCK_BYTES), end]
    return starts


def _compressed(body: bytes, starts: list[int]) -> bytes:
    # A compressor is not safe to share between threads; making one costs microseconds.
    stream = zstandard.ZstdCompressor(compression_params=_COMPRESSION).compressobj(size=len(body))
    pieces: list[bytes] = []
    for begin, end in pairwise([*starts, len(body)]):
        pieces += [stream.compress(body[begin:end]), stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)]
    return b"".join([*pieces, stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)])


def decode_event(frame: bytes) -> Event:
    """The event in a server's frame; raises CodecError."""
    if not frame:
        raise CodecError("bad_frame", "the frame is empty")
    packing, body = frame[0], frame[1:]
    if packing == ZSTD:
        try:
            params = zstandard.get_frame_parameters(body)
            if params.content_size > _MAX_FRAME_BYTES:
                raise CodecError("frame_too_large", f"the frame unpacks to over {_MAX_FRAME_BYTES} bytes")
            body = zstandard.ZstdDecompressor().decompress(body, max_output_size=_MAX_FRAME_BYTES)
        except zstandard.ZstdError as error:
            raise CodecError("bad_frame", f"the frame's zstd body is damaged: {error}") from error
    elif packing != PLAIN:
        raise CodecError("bad_frame", f"unknown packing {packing}; this side knows 0 (msgpack) and 1 (zstd)")
    try:
        return _event_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, OverflowError, UnicodeDecodeError) as error:
        raise CodecError("bad_message", f"not an event of this protocol: {error}") from error


def encode_command(command: Command) -> bytes:
    """One command as a viewer sends it."""
    return _encoder.encode(command)


def decode_command(frame: bytes) -> Command:
    """The command in a viewer's frame; raises CodecError, and nothing else, on any bytes."""
    if len(frame) > MAX_COMMAND_BYTES:
        raise CodecError("frame_too_large", f"a command may have {MAX_COMMAND_BYTES} bytes, got {len(frame)}")
    try:
        return _command_decoder.decode(frame)
    except msgspec.ValidationError as error:
        raise CodecError("bad_command", f"refused: {error}", request_id=_request_id_of(frame)) from error
    except (msgspec.DecodeError, RecursionError, OverflowError, UnicodeDecodeError) as error:
        raise CodecError("bad_frame", f"not msgpack: {error}") from error


class _Numbered(msgspec.Struct, frozen=True, gc=False):
    """Of a command, the one field that its refusal must echo; every other is passed over without being built."""

    request_id: RequestId


_numbered_decoder: msgspec.msgpack.Decoder[_Numbered] = msgspec.msgpack.Decoder(_Numbered)


def _request_id_of(frame: bytes) -> int | None:
    """The id of a command that says something wrong; none where that is the id itself, or the frame's form."""
    try:
        return _numbered_decoder.decode(frame).request_id
    except (msgspec.MsgspecError, RecursionError, OverflowError, UnicodeDecodeError):
        return None
