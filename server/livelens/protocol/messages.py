"""Every message that crosses the websocket: the one hand-edited source of the protocol.

`scripts/generate_protocol.py` writes `shared_schema/protocol.schema.json` from these classes
(`msgspec.json.schema`, JSON Schema 2020-12) and `client/src/protocol/generated.ts` from that, so a
field has one name, one type and one doc line in Python, on the wire and in TypeScript.

Commands (viewer to server) are imperative and carry a `request_id`; events (server to viewer) are
nouns or in the past tense and echo it. `n_layers`, `d_mlp`, ... are TransformerLens's nouns.
How frames are packed is told in `codec.py`; how tensors are quantised, in `tensors.py`.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

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

Channel = Literal["neurons", "heads", "attention", "residual", "logit_lens", "direct_logit"]
CHANNELS: tuple[Channel, ...] = (
    "neurons",
    "heads",
    "attention",
    "residual",
    "logit_lens",
    "direct_logit",
)
ComponentKind = Literal["head", "neuron", "attn", "mlp"]
Operation = Literal["zero", "scale"]
RunState = Literal["prefilling", "running", "paused", "finished"]
FinishReason = Literal["eos", "max_new_tokens", "context_full", "stopped", "abandoned", "nonfinite", "engine_fault"]
ApplyMode = Literal["from_now", "recompute"]
DType = Literal["int8", "uint8", "uint16", "int32", "uint32", "float16", "float32"]

Bytes = Annotated[bytes, Meta(extra_json_schema={"tsType": "Uint8Array"})]
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
TokenText = Annotated[str, Meta(min_length=1, max_length=256)]
RequestId = Annotated[int, Meta(ge=0, le=2**53 - 1, description="chosen by the viewer; every answer echoes it")]
RunId = Annotated[str, Meta(min_length=1, max_length=64, description="names one run; unguessable, so a link is a key")]


class _Value(Struct, frozen=True):
    """Base of the plain values that events carry; unknown fields of a newer minor are ignored."""


class _Input(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the plain values that a viewer sends; unknown fields are refused."""


def _require_finite(name: str, value: float) -> None:
    if not math.isfinite(value):  # msgspec lets NaN and infinity through its range checks
        raise ValueError(f"{name} must be a finite number, got {value}")


# ---------------------------------------------------------------------------- shared values


class Component(_Input, frozen=True):
    """Something with weights: a head `L12H3`, a neuron `L7N1404`, a layer's `L5.attn` or `L5.mlp`."""

    kind: ComponentKind
    layer: Annotated[Index, Meta(description="0 .. n_layers-1")]
    index: Annotated[Index, Meta(description="head_index or neuron index in the layer; 0 for attn and mlp")] = 0


class InterventionSpec(_Input, frozen=True):
    """What is changed in the network: data, never code. Several factors on one component multiply."""

    intervention_id: Annotated[str, Meta(min_length=1, max_length=64, description="chosen by the viewer")]
    operation: Annotated[Operation, Meta(description="`zero` is `scale` by 0")]
    components: Annotated[list[Component], Meta(min_length=1, max_length=MAX_COMPONENTS)]
    amount: Annotated[float, Meta(ge=-1000, le=1000, description="the factor of `scale`; ignored by `zero`")] = 0.0
    enabled: Annotated[bool, Meta(description="a listed but disabled intervention changes nothing")] = True

    def __post_init__(self) -> None:
        _require_finite("amount", self.amount)


InterventionSet = Annotated[list[InterventionSpec], Meta(max_length=MAX_INTERVENTIONS)]


class InterventionSegment(_Input, frozen=True):
    """The whole set that holds from `from_pos` on, until the next segment of a log."""

    from_pos: Annotated[Index, Meta(description="first position whose forward pass is under this set")]
    interventions: InterventionSet


class Sampling(_Input, frozen=True):
    """How the next token is chosen. Same prompt, seed, settings and intervention log: same tokens."""

    temperature: Annotated[float, Meta(ge=0, le=100, description="0 is greedy")] = 0.0
    top_k: Annotated[int, Meta(ge=0, le=1_000_000, description="0 is off")] = 0
    top_p: Annotated[float, Meta(gt=0, le=1, description="1 is off")] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
    max_new_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 64
    stop_at_eos: bool = True

    def __post_init__(self) -> None:
        _require_finite("temperature", self.temperature)
        _require_finite("top_p", self.top_p)


class MissingCapability(_Value, frozen=True):
    """A channel this model or engine cannot give, and why; the page greys it out."""

    channel: Channel
    reason: str


class Capabilities(_Value, frozen=True):
    """What the engine can capture and change: declared, never guessed."""

    channels: list[Channel]
    operations: list[Operation]
    component_kinds: list[ComponentKind]
    missing: list[MissingCapability] = field(default_factory=list)
    has_chat_template: bool = False


class ModelInfo(_Value, frozen=True):
    """Shape and identity of the model being watched, in TransformerLens's nouns."""

    model_name: str
    architecture: str
    n_layers: Count
    n_heads: Count
    n_key_value_heads: Count
    d_model: Count
    d_head: Count
    d_mlp: Count
    d_vocab: Count
    n_ctx: Annotated[Count, Meta(description="longest sequence the model takes, tokens")]
    dtype: str
    weights_sha256: str
    capabilities: Capabilities


class Limits(_Value, frozen=True):
    """The server's bounds, so that a viewer can refuse before it sends."""

    max_command_bytes: int
    max_prompt_chars: int
    max_interventions: int
    grace_secs: Annotated[float, Meta(description="a run without viewers ends after this long")]


class TopToken(_Value, frozen=True):
    """One candidate for the next token."""

    token_id: Index
    text: str
    prob: float


class TokenInfo(_Value, frozen=True):
    """One token of a run's text."""

    token_id: Index
    text: Annotated[str, Meta(description="the token alone, for a label; may be part of a character")]
    logprob: Annotated[
        float | None,
        Meta(description="natural log-probability when it was chosen; none for prompt tokens not yet scored"),
    ] = None


class Tensor(_Value, frozen=True, omit_defaults=True):
    """One array. Whole: `data` holds every value. Sparse: values that differ from the base step's."""

    dtype: DType
    shape: list[int]
    data: Annotated[Bytes, Meta(description="little-endian, C order; whole array, or the changed values")]
    crc32: Annotated[int, Meta(ge=0, description="zlib.crc32 of the whole array's bytes, after reconstruction")]
    indices: Annotated[
        Bytes | None,
        Meta(description="uint32 little-endian flat indices of the changed values; present only when sparse"),
    ] = None


class StepTensors(_Value, frozen=True, omit_defaults=True):
    """The arrays of one position, by channel; absent where no viewer asked or the model has none."""

    neurons: Annotated[
        Tensor | None,
        Meta(description="int8 [n_layers, d_mlp]: mlp.out.hook_in, companded; -128 marks a non-finite value"),
    ] = None
    neurons_scale: Annotated[
        Tensor | None, Meta(description="float32 [n_layers]: the largest |activation| of each layer")
    ] = None
    heads: Annotated[
        Tensor | None,
        Meta(description="float16 [n_layers, n_heads]: L2 norm of z @ W_O[head], what a head writes"),
    ] = None
    attention: Annotated[
        Tensor | None,
        Meta(
            description="uint8 [n_layers, n_heads, n_keys]: this position's row of pattern, in 1/255; "
            "n_keys is pos+1, or 64 where attention_keys is present"
        ),
    ] = None
    attention_keys: Annotated[
        Tensor | None,
        Meta(description="uint16 or uint32 [n_layers, n_heads, 64]: key_pos of each weight, long rows only"),
    ] = None
    attention_rest: Annotated[
        Tensor | None,
        Meta(description="uint8 [n_layers, n_heads]: weight left to all other keys, in 1/255, long rows only"),
    ] = None
    residual: Annotated[
        Tensor | None,
        Meta(description="float16 [n_layers+1]: norm of the stream before layer 0 and after each layer"),
    ] = None
    attn_out: Annotated[
        Tensor | None, Meta(description="float16 [n_layers]: norm of what the layer's attention writes")
    ] = None
    mlp_out: Annotated[Tensor | None, Meta(description="float16 [n_layers]: norm of what the layer's MLP writes")] = (
        None
    )
    lens_token_id: Annotated[
        Tensor | None, Meta(description="int32 [n_layers]: top token of each layer's logit lens")
    ] = None
    lens_prob: Annotated[Tensor | None, Meta(description="float16 [n_layers]: probability of that token")] = None
    lens_entropy: Annotated[
        Tensor | None, Meta(description="float16 [n_layers]: entropy of the layer's prediction, nats")
    ] = None
    lens_rank: Annotated[
        Tensor | None, Meta(description="int32 [n_layers]: rank of the token in fact chosen, 0 is top")
    ] = None
    lens_logprob: Annotated[
        Tensor | None, Meta(description="float32 [n_layers]: log-probability of the token in fact chosen")
    ] = None
    direct_heads: Annotated[
        Tensor | None, Meta(description="float32 [n_layers, n_heads]: direct contribution of each head, logits")
    ] = None
    direct_mlps: Annotated[
        Tensor | None, Meta(description="float32 [n_layers]: direct contribution of each layer's MLP, logits")
    ] = None
    direct_bias: Annotated[
        Tensor | None,
        Meta(description="float32 [n_layers]: direct contribution of each attention output bias, logits"),
    ] = None
    direct_ends: Annotated[
        Tensor | None,
        Meta(
            description="float32 [3]: contribution of the embedding, of the final biases, and the total "
            "(the metric itself, before any soft cap); heads+mlps+bias+embedding+final = total"
        ),
    ] = None
    direct_neuron_layer: Annotated[
        Tensor | None, Meta(description="uint16 [k]: layer of each of the strongest neurons")
    ] = None
    direct_neuron_index: Annotated[
        Tensor | None, Meta(description="uint32 [k]: index of each of the strongest neurons in its layer")
    ] = None
    direct_neuron_value: Annotated[
        Tensor | None, Meta(description="float32 [k]: direct contribution of that neuron, logits")
    ] = None


# Which channel brings which tensors: subscription, coalescing and the page's store all read this.
CHANNEL_TENSORS: dict[Channel, tuple[str, ...]] = {
    "neurons": ("neurons", "neurons_scale"),
    "heads": ("heads",),
    "attention": ("attention", "attention_keys", "attention_rest"),
    "residual": ("residual", "attn_out", "mlp_out"),
    "logit_lens": ("lens_token_id", "lens_prob", "lens_entropy", "lens_rank", "lens_logprob"),
    "direct_logit": (
        "direct_heads",
        "direct_mlps",
        "direct_bias",
        "direct_ends",
        "direct_neuron_layer",
        "direct_neuron_index",
        "direct_neuron_value",
    ),
}


# ---------------------------------------------------------------------------- commands


class _Command(_Input, frozen=True, tag_field="type", tag=True):
    request_id: RequestId


class StartRun(_Command, frozen=True, tag="start_run"):
    """Begin a run and watch it. Any run this viewer watched before is left."""

    prompt: Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS)]
    apply_chat_template: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    start_paused: Annotated[bool, Meta(description="prefill, then wait for resume or step_once")] = False
    intervention_log: Annotated[
        list[InterventionSegment],
        Meta(max_length=1024, description="sets by the position they hold from, ascending; replays a log"),
    ] = field(default_factory=list)
    target_token: Annotated[
        TokenText | None, Meta(description="direct_logit's target; none: the token chosen at each step")
    ] = None
    distractor_token: Annotated[
        TokenText | None, Meta(description="subtracted from the target; none: the mean logit")
    ] = None


class JoinRun(_Command, frozen=True, tag="join_run"):
    """Watch a run that exists: by its link, or after a reload or a lost connection."""

    run_id: RunId
    last_seq: Annotated[
        int, Meta(ge=-1, le=2**53 - 1, description="newest seq the viewer holds; -1: send everything")
    ] = -1


class _RunCommand(_Command, frozen=True):
    run_id: RunId


class Pause(_RunCommand, frozen=True, tag="pause"):
    """Hold the run at the next token boundary; harmless when it is paused."""


class Resume(_RunCommand, frozen=True, tag="resume"):
    """Go on; harmless when it is running."""


class StepOnce(_RunCommand, frozen=True, tag="step_once"):
    """Make exactly one token, then be paused."""


class Stop(_RunCommand, frozen=True, tag="stop"):
    """End the run, keeping its text; harmless when it has ended."""


class SetInterventions(_RunCommand, frozen=True, tag="set_interventions"):
    """Replace the run's whole intervention set; the last one wins.

    `from_now`: holds from the next position on, the KV cache keeps what earlier positions computed.
    `recompute`: positions from `recompute_from` on are run again under the set; the tokens generated so
    far are kept, or with `restart` dropped and generated anew with the same seed.
    """

    interventions: InterventionSet
    mode: ApplyMode = "from_now"
    recompute_from: Annotated[Index, Meta(description="first position to run again; only for recompute")] = 0
    restart: Annotated[bool, Meta(description="drop the generated tokens; only for recompute")] = False


class Subscribe(_Command, frozen=True, tag="subscribe"):
    """Which channels this viewer wants from now on; only what some viewer wants is computed."""

    channels: Annotated[list[Channel], Meta(max_length=len(CHANNELS))]
    visible: Annotated[
        bool, Meta(description="false: a hidden tab, tokens only; one keyframe follows when true again")
    ] = True


class RequestKeyframe(_RunCommand, frozen=True, tag="request_keyframe"):
    """The viewer lost the chain of differences: the next step comes whole."""


class RequestPositions(_RunCommand, frozen=True, tag="request_positions"):
    """Send the steps of these positions again, whole, in the subscribed channels."""

    positions: Annotated[list[Index], Meta(min_length=1, max_length=MAX_REQUESTED_POSITIONS)]


class RequestValues(_RunCommand, frozen=True, tag="request_values"):
    """Exact float32 history of components: what the inspector shows."""

    components: Annotated[list[Component], Meta(min_length=1, max_length=MAX_VALUE_COMPONENTS)]
    from_pos: Index = 0
    to_pos: Annotated[Index | None, Meta(description="exclusive; none: up to the newest")] = None


class RequestAttention(_RunCommand, frozen=True, tag="request_attention"):
    """One head's exact attention row."""

    layer: Index
    head_index: Index
    query_pos: Index


class Ping(_Command, frozen=True, tag="ping"):
    """Is the server there? Answered with `pong`."""


Command = (
    StartRun
    | JoinRun
    | Pause
    | Resume
    | StepOnce
    | Stop
    | SetInterventions
    | Subscribe
    | RequestKeyframe
    | RequestPositions
    | RequestValues
    | RequestAttention
    | Ping
)


# ---------------------------------------------------------------------------- events


class _Event(_Value, frozen=True, tag_field="type", tag=True):
    pass


class Hello(_Event, frozen=True, tag="hello"):
    """First event on every connection."""

    protocol_version: str
    server_version: str
    viewer_id: Annotated[str, Meta(description="names this viewer in `author` fields")]
    model_info: ModelInfo
    limits: Limits


class AppliedInterventions(_Value, frozen=True):
    """One entry of a run's intervention log."""

    revision: Annotated[Count, Meta(description="counts the sets a run has had; 0 is the set it started with")]
    from_pos: Annotated[Index, Meta(description="first position whose forward pass is under this set")]
    mode: ApplyMode
    interventions: list[InterventionSpec]
    author: Annotated[str, Meta(description="viewer_id of who set it")]


class RunSnapshot(_Value, frozen=True, kw_only=True):
    """A run as it stands: enough to draw its text; its steps follow, newest first for a joiner."""

    run_id: RunId
    prompt: str
    apply_chat_template: bool
    sampling: Sampling
    n_prompt_tokens: Count
    tokens: Annotated[list[TokenInfo], Meta(description="prompt and generated tokens, by position")]
    text: Annotated[str, Meta(description="the generated text so far")]
    state: RunState
    finish_reason: FinishReason | None = None
    revision: Count
    intervention_log: list[AppliedInterventions]
    last_seq: Annotated[int, Meta(ge=-1, description="newest seq when the snapshot was taken; -1: none")]
    n_steps: Annotated[Count, Meta(description="positions with a captured step")]
    author: str
    target_id: Index | None = None
    distractor_id: Index | None = None
    notice: Annotated[str | None, Meta(description="something the person should know, e.g. a split target")] = None


class RunStarted(_Event, frozen=True, tag="run_started"):
    """Answer to `start_run`."""

    request_id: RequestId
    run: RunSnapshot


class RunJoined(_Event, frozen=True, tag="run_joined"):
    """Answer to `join_run`; the missing steps follow, newest position first, then oldest first."""

    request_id: RequestId
    run: RunSnapshot


class Step(_Event, frozen=True, tag="step", kw_only=True):
    """Everything new at one position. May come again for a `pos` with further tensors, which merge."""

    run_id: RunId
    seq: Annotated[Index, Meta(description="counts the steps sent for this run, in order of emission")]
    base_seq: Annotated[
        int, Meta(ge=-1, description="the step whose tensors sparse tensors differ from; -1: keyframe, all whole")
    ] = -1
    pos: Annotated[Index, Meta(description="position of the token whose activations these are")]
    token_id: Annotated[Index, Meta(description="the token at pos")]
    text: Annotated[str, Meta(description="that token alone, for a label")]
    chosen_id: Annotated[
        Index | None, Meta(description="the token after pos: the next prompt token, or the one chosen here")
    ] = None
    chosen_text: str | None = None
    text_delta: Annotated[
        str, Meta(description="what the chosen token adds to the generated text; empty within a character")
    ] = ""
    generated: Annotated[bool, Meta(description="the token after pos was chosen by the model at this step")] = False
    top_tokens: Annotated[list[TopToken], Meta(description="likeliest next tokens, best first")] = field(
        default_factory=list
    )
    logprob: Annotated[float | None, Meta(description="natural log-probability of chosen_id")] = None
    entropy: Annotated[float | None, Meta(description="entropy of the prediction at pos, nats")] = None
    revision: Annotated[Count, Meta(description="intervention set under which this position was computed")]
    server_ns: Annotated[int, Meta(description="server's monotonic clock when the step was made, nanoseconds")]
    tensors: StepTensors = field(default_factory=StepTensors)
    lens_texts: Annotated[list[str] | None, Meta(description="text of each lens_token_id")] = None
    direct_target_id: Index | None = None
    direct_distractor_id: Annotated[Index | None, Meta(description="none: the mean of all logits was subtracted")] = (
        None
    )
    detail_dropped: Annotated[
        bool, Meta(description="this viewer was too slow for the tensors; request_positions brings them")
    ] = False


class RunStateChanged(_Event, frozen=True, tag="run_state_changed"):
    """The run's state now; answers pause, resume, step_once and stop, and is told to every viewer."""

    run_id: RunId
    state: RunState
    request_id: RequestId | None = None
    author: str | None = None


class InterventionsApplied(_Event, frozen=True, tag="interventions_applied"):
    """The set that holds from `applied.from_pos` on; answers `set_interventions`, told to every viewer."""

    run_id: RunId
    applied: AppliedInterventions
    request_id: RequestId | None = None


class RunRewound(_Event, frozen=True, tag="run_rewound"):
    """Recompute: captured steps from `from_pos` on are void; tokens from `n_tokens` on are dropped."""

    run_id: RunId
    from_pos: Index
    n_tokens: Count
    text: Annotated[str, Meta(description="the generated text that is kept")]
    revision: Count


class RunFinished(_Event, frozen=True, tag="run_finished"):
    """The run has ended; its text and steps stay readable."""

    run_id: RunId
    reason: FinishReason
    message: str
    n_generated: Count
    text: str


class ValuesReady(_Event, frozen=True, tag="values_ready"):
    """Answer to `request_values`."""

    request_id: RequestId
    run_id: RunId
    components: list[Component]
    positions: list[Index]
    values: Annotated[
        Tensor,
        Meta(description="float32 [n_components, n_positions]; NaN where a position was not captured"),
    ]
    exact: Annotated[bool, Meta(description="false: some come from the quantised record, not from float32")]


class AttentionReady(_Event, frozen=True, tag="attention_ready"):
    """Answer to `request_attention`."""

    request_id: RequestId
    run_id: RunId
    layer: Index
    head_index: Index
    query_pos: Index
    row: Annotated[Tensor, Meta(description="float32 [query_pos+1]; sums to 1")]
    exact: bool


class Acknowledged(_Event, frozen=True, tag="acknowledged"):
    """The command was taken and needs no other answer."""

    request_id: RequestId


class Pong(_Event, frozen=True, tag="pong"):
    """Answer to `ping`."""

    request_id: RequestId
    server_ns: int


class ErrorReport(_Event, frozen=True, tag="error_report"):
    """A refusal or a fault: what is wrong, which limit, and what to do. Nothing else is lost."""

    code: Annotated[str, Meta(description="stable, snake_case")]
    message: str
    request_id: RequestId | None = None
    run_id: RunId | None = None


Event = (
    Hello
    | RunStarted
    | RunJoined
    | Step
    | RunStateChanged
    | InterventionsApplied
    | RunRewound
    | RunFinished
    | ValuesReady
    | AttentionReady
    | Acknowledged
    | Pong
    | ErrorReport
)
