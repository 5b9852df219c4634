"""What heads and neurons read and write by their weights alone, in the coordinates of the residual stream.

Folded in, as in Elhage et al. 2021 ("A Mathematical Framework for Transformer Circuits") and
TransformerLens's `fold_layer_norm`: the gain of the norm that is read through, a LayerNorm's taking
away of the mean, and the gain of a norm after attention or MLP. Biases are no part of it; nor are
rotary embeddings and the norms' denominators, which depend on the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from livelens.analysis.norms import NormWeights
from livelens.model.anatomy import Anatomy, LayerAnatomy, weight_in_out
from livelens.model.caches import new_cache
from livelens.model.capture import CaptureSite
from livelens.model.edits import NO_EDITS
from livelens.model.engine import EngineError
from livelens.model.hook_names import READ_BIASES
from livelens.model.replay import ModelParts, run_piece

_interleaved: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadWeights:
    """One layer's heads, float32: query, key, value [n_heads, d_model, d_head], output [n_heads, d_head, d_model].

    Heads that share keys and values (grouped queries) each have them.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronWeights:
    """One layer's neurons, float32: into and gate (none without one) [d_model, d_mlp], output [d_mlp, d_model]."""

    into: Tensor
    gate: Tensor | None
    output: Tensor


def head_weights(parts: ModelParts, layer: int) -> HeadWeights:
    """The heads of one layer. Raises EngineError where the model keeps them in a form livelens cannot take apart."""
    anatomy = parts.anatomy
    shape, here = anatomy.shape, anatomy.layers[layer]
    query, key, value = (folded(anatomy, here.attention_norm, part) for part in _query_key_value(parts, layer))
    n_queries_per_key = shape.n_heads // shape.n_key_value_heads

    def by_head(weight: Tensor) -> Tensor:
        return weight.reshape(shape.d_model, -1, shape.d_head).transpose(0, 1)

    output = weight_in_out(here.attention_output).float().reshape(shape.n_heads, shape.d_head, shape.d_model)
    return HeadWeights(
        query=by_head(query) * _head_gain(anatomy, here.query_norm),
        key=(by_head(key) * _head_gain(anatomy, here.key_norm)).repeat_interleave(n_queries_per_key, 0),
        value=by_head(value).repeat_interleave(n_queries_per_key, 0),
        output=written_through(anatomy, here.attention_post_norm, output),
    )


def neuron_weights(parts: ModelParts, layer: int) -> NeuronWeights:
    """The neurons of one layer. Raises EngineError where the model keeps them in a form livelens cannot take apart."""
    anatomy = parts.anatomy
    here = anatomy.layers[layer]
    into, gate = neuron_readers(parts, layer)
    if here.mlp_output is None:
        raise EngineError(f"{anatomy.shape.architecture}'s neurons have no single output matrix")
    norm = mlp_reading_norm(here)
    return NeuronWeights(
        into=folded(anatomy, norm, weight_in_out(into).float()),
        gate=None if gate is None else folded(anatomy, norm, weight_in_out(gate).float()),
        output=written_through(anatomy, here.mlp_post_norm, weight_in_out(here.mlp_output).float()),
    )


def neuron_readers(parts: ModelParts, layer: int) -> tuple[nn.Module, nn.Module | None]:
    """The modules W_in and, in a gated MLP, W_gate. Raises EngineError where they are not apart."""
    shape, here = parts.anatomy.shape, parts.anatomy.layers[layer]
    into, gate = _reader(here, "mlp.in"), _reader(here, "mlp.gate")
    if into is None or weight_in_out(into).shape != (shape.d_model, shape.d_mlp):
        raise EngineError(f"{shape.architecture} keeps its neurons' weights in a form livelens cannot take apart")
    return into, gate


def mlp_reading_norm(layer: LayerAnatomy) -> nn.Module | None:
    """The norm that a layer's MLP reads the stream through: where it has none of its own, attention's."""
    return layer.attention_norm if layer.mlp_norm is None else layer.mlp_norm


def folded(anatomy: Anatomy, norm: nn.Module | None, weight: Tensor) -> Tensor:
    """weight [d_model, d_out] of what reads through `norm`, with the norm's gain and centring in it."""
    return weight if norm is None else read_through(anatomy.norm_weights(norm), weight)


def read_through(norm: NormWeights, weight: Tensor) -> Tensor:
    """weight [d_model, d_out] with the norm's gain, and its taking away of the mean, in it."""
    scaled = norm.gain[:, None] * weight
    return scaled - scaled.mean(0) if norm.is_centred else scaled


def written_through(anatomy: Anatomy, norm: nn.Module | None, weight: Tensor) -> Tensor:
    """weight [..., d_model] of what writes through `norm`, with the norm's gain and centring in it."""
    if norm is None:
        return weight
    weights = anatomy.norm_weights(norm)
    centred = weight - weight.mean(-1, keepdim=True) if weights.is_centred else weight
    return centred * weights.gain


def embedding(parts: ModelParts) -> Tensor:
    """W_E [d_vocab, d_model], as the model stores it. Raises EngineError where there is none of that shape."""
    weight = parts.model.get_input_embeddings().weight
    if not isinstance(weight, Tensor) or weight.shape != parts.weights.unembed.shape:
        raise EngineError(f"{parts.anatomy.shape.architecture} embeds its tokens in a way livelens does not know")
    return weight.detach()


def _reader(layer: LayerAnatomy, component: str) -> nn.Module | None:
    """A module that reads the stream, by the component's TransformerLens name."""
    name = READ_BIASES[component]
    return next((module for module, known in layer.bias_names.items() if known == name), None)


def _head_gain(anatomy: Anatomy, norm: nn.Module | None) -> Tensor:
    """Gain of a norm of queries or keys, to be multiplied with [n_heads, d_model, d_head]."""
    if norm is None:
        return torch.ones((), device=anatomy.norm_weights(anatomy.final_norm).gain.device)
    return anatomy.norm_weights(norm).gain.reshape(-1, 1, anatomy.shape.d_head)


def _query_key_value(parts: ModelParts, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """W_Q, W_K, W_V as [d_model, heads * d_head], float32."""
    here = parts.anatomy.layers[layer]
    apart = [_reader(here, f"attn.{name}") for name in "qkv"]
    if apart[0] is not None and apart[1] is not None and apart[2] is not None:
        query, key, value = (weight_in_out(module).float() for module in apart if module is not None)
        return query, key, value
    joint = _reader(here, "attn.qkv")
    if joint is None:
        raise _unknown(parts)
    return _split(weight_in_out(joint).float(), parts, is_interleaved=_is_interleaved(parts, joint, layer))


def _split(joint: Tensor, parts: ModelParts, *, is_interleaved: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of joint [n, heads * d_head of all three]: one after the other, or head by head."""
    shape = parts.anatomy.shape
    n_query, n_key = shape.n_heads * shape.d_head, shape.n_key_value_heads * shape.d_head
    if joint.shape[-1] != n_query + 2 * n_key:
        raise _unknown(parts)
    if not is_interleaved:
        query, key, value = torch.split(joint, [n_query, n_key, n_key], dim=-1)
        return query, key, value
    if n_key != n_query:
        raise _unknown(parts)
    each = joint.reshape(joint.shape[0], shape.n_heads, 3, shape.d_head)
    query, key, value = (each[:, :, i].flatten(1) for i in range(3))
    return query, key, value


def _is_interleaved(parts: ModelParts, joint: nn.Module, layer: int) -> bool:
    """How one matrix for query, key and value is laid out: GPT-2's one after the other, or GPT-NeoX's head by head.

    Found out rather than known, once for each module: of one token alone a head's z is its value.
    """
    if joint not in _interleaved:
        _interleaved[joint] = _find_interleaved(parts, joint, layer)
    return _interleaved[joint]


def _find_interleaved(parts: ModelParts, joint: nn.Module, layer: int) -> bool:
    kept: list[Tensor] = []
    handle = joint.register_forward_hook(lambda module, args, output: kept.append(output))
    sites: frozenset[CaptureSite] = frozenset(("z",))
    try:
        piece = run_piece(parts, [1], start=0, cache=new_cache(), edits=NO_EDITS, sites=sites)
    finally:
        handle.remove()
    z = piece.tensors["z"][layer]
    for is_interleaved in (not isinstance(joint, Conv1D), isinstance(joint, Conv1D)):
        try:
            value = _split(kept[0][0], parts, is_interleaved=is_interleaved)[2]
        except EngineError:
            continue
        if z is not None and value.shape == z[0].shape and torch.allclose(value, z[0], rtol=1e-2, atol=1e-4):
            return is_interleaved
    raise _unknown(parts)


def _unknown(parts: ModelParts) -> EngineError:
    return EngineError(
        f"{parts.anatomy.shape.architecture} keeps query, key and value weights in a form livelens cannot take apart"
    )
