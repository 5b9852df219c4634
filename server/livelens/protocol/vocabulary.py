"""The words of the protocol: its version, its bounds, its closed sets of names, and its bounded types.

Every other module of the protocol's messages is written in these words.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

PROTOCOL_MAJOR = 1
PROTOCOL_MINOR = 0
PROTOCOL_VERSION = f"{PROTOCOL_MAJOR}.{PROTOCOL_MINOR}"
SUBPROTOCOL = f"livelens.v{PROTOCOL_MAJOR}"

MAX_COMMAND_BYTES = 64 * 1024
MAX_PROMPT_CHARS = 48 * 1024
MAX_INTERVENTIONS = 256
MAX_COMPONENTS = 4096
MAX_REQUESTED_POSITIONS = 4096
MAX_VALUE_COMPONENTS = 64
MAX_KEYS = 1024
MAX_REFERENCE_TEXTS = 64
MAX_CONTRAST_PROMPTS = 64
MAX_DIRECTION_BYTES = 60 * 1024

Channel = Literal[
    "neurons", "heads", "attention", "residual", "logit_lens", "direct_logit", "causal_effects", "difference"
]
CHANNELS: tuple[Channel, ...] = get_args(Channel)
# Channels that cost more at every token (rows of their own, the reading of a second row): only for viewers that
# name them. `difference` comes only while a clean twin is carried.
MEASURED_CHANNELS: tuple[Channel, ...] = ("causal_effects", "difference")
ComponentKind = Literal["head", "neuron", "attn", "mlp"]
Operation = Literal[
    "zero",
    "scale",
    "mean",
    "resample",
    "set",
    "add_direction",
    "project_out",
    "attention_knockout",
    "attention_set",
    "attention_turn",
    "rank_one_edit",
]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
PositionScope = Literal["from_now", "range", "all", "tokens"]
ReferenceSource = Literal["prompt", "text", "run"]
# Of add_direction's amount: times the direction as it stands, times its unit vector, or times its unit vector and
# the norm of the stream at that place and position.
DirectionUnit = Literal["direction", "norm", "stream"]
EditedMatrix = Literal["mlp_out", "ov"]
DirectionKind = Literal["put", "contrast", "neuron", "head", "unembed", "pca"]
RunState = Literal["prefilling", "running", "paused", "finished"]
FinishReason = Literal["eos", "max_new_tokens", "context_full", "stopped", "abandoned", "nonfinite", "engine_fault"]
ApplyMode = Literal["from_now", "recompute"]
# Of the clean twin: none; fed the run's own tokens; or going on with the tokens that it chooses itself.
TwinMode = Literal["off", "teacher_forced", "free_running"]
AnalysisKind = Literal[
    "attribution",
    "paths",
    "overview",
    "relevance",
    "effects",
    "patching",
    "head_profile",
    "head_scores",
    "neuron_profile",
    "lens",
    "head_lens",
    "stream_pca",
    "attention_entropy",
    "comparison",
    "direction",
    "rank_one_edit",
]
ANALYSIS_KINDS: tuple[AnalysisKind, ...] = get_args(AnalysisKind)
DType = Literal["int8", "uint8", "uint16", "int32", "uint32", "float16", "float32"]

Bytes = Annotated[bytes, Meta(extra_json_schema={"tsType": "Uint8Array"})]
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenText = Annotated[str, Meta(min_length=1, max_length=256)]
RequestId = Annotated[int, Meta(ge=0, le=2**53 - 1, description="chosen by the viewer; every answer echoes it")]
DirectionId = Annotated[
    str, Meta(min_length=1, max_length=64, description="names a direction by its content: equal vectors, equal ids")
]
EditId = Annotated[
    str, Meta(min_length=1, max_length=64, description="names a rank-1 edit by its content: equal edits, equal ids")
]
ShareKey = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9_-]{16,64}$",
        description="names a group of viewers; unguessable, made by whoever shares first",
    ),
]
RunId = Annotated[str, Meta(min_length=1, max_length=64, description="names one run; unguessable, so a link is a key")]


class WireValue(Struct, frozen=True):
    """Base of the plain values that events carry; unknown fields of a newer minor are ignored."""


class WireInput(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the plain values that a viewer sends; unknown fields are refused."""


def require_finite(name: str, value: float) -> None:
    if not math.isfinite(value):  # msgspec lets NaN and infinity through its range checks
        raise ValueError(f"{name} must be a finite number, got {value}")
