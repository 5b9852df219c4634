"""Frames: msgpack out, typed and bounded decoding in.

A frame from the server is one byte that names the packing, then the body: 0x00 msgpack, 0x01
zstd of msgpack. Per-message websocket compression is off (a 1 KB deflated frame becomes a 1 MiB
bomb before anyone can look at it); whole-frame zstd at its lowest level is taken where it pays.
A frame from a viewer is bare msgpack of one command, decoded straight into its typed class, so an
allocation bomb is refused at its first wrong byte.
"""

from __future__ import annotations

from typing import Final

import msgspec
import zstandard

from livelens.protocol.messages import MAX_COMMAND_BYTES, Command, Event

PLAIN: Final = 0
ZSTD: Final = 1
_WORTH_COMPRESSING_BYTES: Final = 1024
_MAX_FRAME_BYTES: Final = 256 * 1024 * 1024

_encoder = msgspec.msgpack.Encoder()
_command_decoder: msgspec.msgpack.Decoder[Command] = msgspec.msgpack.Decoder(Command)
_event_decoder: msgspec.msgpack.Decoder[Event] = msgspec.msgpack.Decoder(Event)


class CodecError(ValueError):
    """Bytes that are not one message of this protocol; `code` is stable, the text says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def encode_event(event: Event) -> bytes:
    """One event as one frame. Safe to call from any thread."""
    body = _encoder.encode(event)
    if len(body) >= _WORTH_COMPRESSING_BYTES:
        # A compressor is not safe to share between threads; making one costs microseconds.
        packed = zstandard.ZstdCompressor(level=1).compress(body)
        if len(packed) < len(body):
            return bytes((ZSTD,)) + packed
    return bytes((PLAIN,)) + body


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
    except (msgspec.DecodeError, RecursionError) as error:
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
        raise CodecError("bad_command", f"refused: {error}") from error
    except (msgspec.DecodeError, RecursionError, OverflowError, UnicodeDecodeError) as error:
        raise CodecError("bad_frame", f"not msgpack: {error}") from error
