"""The arrays of one step: what each holds, its dtype and its shape, and which channel brings it.

How they are quantised is told in `tensors.py`.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from livelens.protocol.vocabulary import Bytes, Channel, ComponentKind, DType, WireValue

# What `causal_kind` counts.
CAUSAL_KINDS: tuple[ComponentKind, ...] = ("head", "mlp")


class Tensor(WireValue, frozen=True, omit_defaults=True):
    """One array. Whole: `data` holds every value. Sparse: values that differ from the base step's."""

    dtype: DType
    shape: list[int]
    data: Annotated[Bytes, Meta(description="little-endian, C order; whole array, or the changed values")]
    crc32: Annotated[int, Meta(ge=0, description="zlib.crc32 of the whole array's bytes, after reconstruction")]
    indices: Annotated[
        Bytes | None,
        Meta(description="uint32 little-endian flat indices of the changed values; present only when sparse"),
    ] = None


class StepTensors(WireValue, frozen=True, omit_defaults=True):
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
    causal_kind: Annotated[
        Tensor | None,
        Meta(
            description="uint8 [k]: kind of each of the strongest heads and MLPs by |direct contribution|, strongest "
            "first: its place in CAUSAL_KINDS; only of tokens as they are generated"
        ),
    ] = None
    causal_layer: Annotated[Tensor | None, Meta(description="uint16 [k]: layer of each")] = None
    causal_index: Annotated[Tensor | None, Meta(description="uint32 [k]: head_index of each, 0 for an mlp")] = None
    causal_attributed: Annotated[
        Tensor | None, Meta(description="float32 [k]: direct contribution of each to the metric, logits")
    ] = None
    causal_measured: Annotated[
        Tensor | None,
        Meta(
            description="float32 [k]: the metric minus what it is when that one alone is zeroed at this position, "
            "logits before any soft cap"
        ),
    ] = None
    difference_neurons: Annotated[
        Tensor | None,
        Meta(
            description="int8 [n_layers, d_mlp]: this run's activations minus its clean twin's, companded as "
            "`neurons`; every difference_* is taken between exact float32 values before it is quantised"
        ),
    ] = None
    difference_neurons_scale: Annotated[
        Tensor | None, Meta(description="float32 [n_layers]: the largest |difference| of each layer")
    ] = None
    difference_heads: Annotated[
        Tensor | None,
        Meta(description="float32 [n_layers, n_heads]: this run's norms of what heads write minus the twin's"),
    ] = None
    difference_attention: Annotated[
        Tensor | None,
        Meta(
            description="float16 [n_layers, n_heads, pos+1]: this run's row of pattern minus the twin's, in steps of "
            "1/2048; absent above 512 keys (request_comparison brings it exact)"
        ),
    ] = None
    difference_residual: Annotated[
        Tensor | None, Meta(description="float32 [n_layers+1]: this run's norm of the stream minus the twin's")
    ] = None
    difference_attn_out: Annotated[
        Tensor | None, Meta(description="float32 [n_layers]: of the norm of what attention writes")
    ] = None
    difference_mlp_out: Annotated[
        Tensor | None, Meta(description="float32 [n_layers]: of the norm of what the MLP writes")
    ] = None
    difference_direct_heads: Annotated[
        Tensor | None,
        Meta(description="float32 [n_layers, n_heads]: of direct contributions to this run's metric, logits"),
    ] = None
    difference_direct_mlps: Annotated[
        Tensor | None, Meta(description="float32 [n_layers]: of direct contributions to this run's metric, logits")
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
    "causal_effects": ("causal_kind", "causal_layer", "causal_index", "causal_attributed", "causal_measured"),
    "difference": (
        "difference_neurons",
        "difference_neurons_scale",
        "difference_heads",
        "difference_attention",
        "difference_residual",
        "difference_attn_out",
        "difference_mlp_out",
        "difference_direct_heads",
        "difference_direct_mlps",
    ),
}
