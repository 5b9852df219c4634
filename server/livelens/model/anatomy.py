"""Where everything lies in one Hugging Face model: TransformerLens's names resolved to modules and weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from livelens.analysis.norms import NormWeights
from livelens.model import hook_names
from livelens.model.bridge import Adapter, ModelShape
from livelens.model.source_errors import ModelSourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAnatomy:
    """One layer's modules. `mlp_output` is none where there is no single W_out (mixtures of experts).

    `attn_write` and `mlp_write` are the modules whose output is added to the residual stream: the
    norms after attention and MLP where a model has them, else attention and MLP themselves.
    `activation` is none where it is not one module of the MLP. `bias_names`: TransformerLens's names of
    the biases of the modules that read the stream.
    """

    block: nn.Module
    attention: nn.Module
    attention_output: nn.Module
    attention_post_norm: nn.Module | None
    mlp: nn.Module
    mlp_output: nn.Module | None
    mlp_post_norm: nn.Module | None
    attention_norm: nn.Module | None = None
    mlp_norm: nn.Module | None = None
    query_norm: nn.Module | None = None
    key_norm: nn.Module | None = None
    activation: nn.Module | None = None
    bias_names: dict[nn.Module, str] = field(default_factory=dict)

    @property
    def attn_write(self) -> nn.Module:
        """The module whose output is what attention writes."""
        return self.attention if self.attention_post_norm is None else self.attention_post_norm

    @property
    def mlp_write(self) -> nn.Module:
        """The module whose output is what the MLP writes."""
        return self.mlp if self.mlp_post_norm is None else self.mlp_post_norm


@dataclass(frozen=True, slots=True, kw_only=True)
class Anatomy:
    """One model's modules and sizes."""

    shape: ModelShape
    layers: tuple[LayerAnatomy, ...]
    final_norm: nn.Module
    unembed: nn.Module
    position_embed: nn.Module | None = None

    def hooked_modules(self) -> list[nn.Module]:
        """Every module that a forward call may put a hook on."""
        modules: list[nn.Module] = []
        for layer in self.layers:
            modules += [layer.block, layer.attention, layer.attention_output, layer.mlp]
            optional = (layer.attention_post_norm, layer.mlp_output, layer.mlp_post_norm)
            modules += [module for module in optional if module is not None]
        return modules

    def norm_weights(self, norm: nn.Module) -> NormWeights:
        """The weights of a norm module of this model, for the functions of `analysis`."""
        return norm_weights(norm, gain_has_offset=self.shape.norm_gain_has_offset)


def read_anatomy(model: PreTrainedModel) -> Anatomy:
    """Resolve the model's modules; raises ModelSourceError when the model has a shape we cannot watch."""
    adapter = Adapter(model)
    shape = adapter.shape()

    def find(component: str) -> nn.Module | None:
        path = adapter.path(component)
        try:
            return None if path is None else model.get_submodule(path)
        except AttributeError:
            return None

    def need(component: str) -> nn.Module:
        module = find(component)
        if module is None:
            raise ModelSourceError(f"{shape.architecture} has no {component}: livelens cannot watch such a model")
        return module

    layers = tuple(
        LayerAnatomy(
            block=need(hook_names.block(layer)),
            attention=need(hook_names.attention(layer)),
            attention_output=need(hook_names.attention_output(layer)),
            attention_post_norm=find(hook_names.attention_post_norm(layer)),
            mlp=need(hook_names.mlp(layer)),
            mlp_output=find(hook_names.mlp_output(layer)),
            mlp_post_norm=find(hook_names.mlp_post_norm(layer)),
            attention_norm=find(hook_names.attention_norm(layer)),
            mlp_norm=find(hook_names.mlp_norm(layer)),
            query_norm=find(hook_names.query_norm(layer)),
            key_norm=find(hook_names.key_norm(layer)),
            activation=_activation(need(hook_names.mlp(layer))),
            bias_names={
                module: name
                for component, name in hook_names.READ_BIASES.items()
                if (module := find(f"{hook_names.block(layer)}.{component}")) is not None
            },
        )
        for layer in range(shape.n_layers)
    )
    return Anatomy(
        shape=shape,
        layers=layers,
        final_norm=need(hook_names.FINAL_NORM),
        unembed=need(hook_names.UNEMBED),
        position_embed=find(hook_names.POSITION_EMBED),
    )


def _activation(mlp: nn.Module) -> nn.Module | None:
    """The MLP's activation function: its only child without weights, dropout apart."""
    bare = [
        child
        for child in mlp.children()
        if not isinstance(child, nn.Dropout | nn.ModuleList) and next(child.parameters(), None) is None
    ]
    return bare[0] if len(bare) == 1 else None


def weight_in_out(module: nn.Module) -> Tensor:
    """A linear module's weight as [d_in, d_out] (a view): torch keeps [out, in], GPT-2's Conv1D [in, out]."""
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"{type(module).__name__} is not a linear module")
    return weight.detach() if isinstance(module, Conv1D) else weight.detach().T


def bias_of(module: nn.Module) -> Tensor | None:
    """A module's bias [d_out], none where it has none."""
    bias = getattr(module, "bias", None)
    return bias.detach() if isinstance(bias, Tensor) else None


def norm_weights(norm: nn.Module, *, gain_has_offset: bool) -> NormWeights:
    """Read a LayerNorm's or RMSNorm's weights; `gain_has_offset` is Gemma's `1 + weight`."""
    weight = norm.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"{type(norm).__name__} has no weight")
    gain = weight.detach().float()
    centred = isinstance(norm, nn.LayerNorm)
    eps = next((getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name)), 1e-6)
    bias = bias_of(norm)
    return NormWeights(
        gain=gain + 1.0 if gain_has_offset and not centred else gain,
        bias=None if bias is None else bias.float(),
        is_centred=centred,
        eps=float(eps) if isinstance(eps, float) else torch.finfo(torch.float32).eps,
    )
