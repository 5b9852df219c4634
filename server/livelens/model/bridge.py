"""TransformerLens, and nothing else of livelens imports it.

Two things come from here. `read_shape` and `find_paths` ask TransformerLens's adapter what a Hugging
Face model's sizes are and where its components lie, which is all that the streaming path needs: the
bridge's own forward runs at 0.77 of `generate`, plain torch hooks under the same names do not slow it.
`build_bridge` makes the whole TransformerBridge over the same parameters, for analysis and for the
tests that hold both paths equal.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.architecture_adapter import ArchitectureAdapter
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_config_from_hf, build_bridge_from_module
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from livelens.model import hook_names
from livelens.model.source_errors import ModelSourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A model's sizes, in TransformerLens's nouns; `soft_cap` bounds the logits, none where there is none."""

    architecture: str
    n_layers: int
    n_heads: int
    n_key_value_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    d_vocab: int
    n_ctx: int
    soft_cap: float | None
    norm_gain_has_offset: bool


def _adapter(model: PreTrainedModel) -> ArchitectureAdapter:
    architecture = type(model).__name__
    config = build_bridge_config_from_hf(model.config, architecture, str(model.name_or_path), model.dtype)
    try:
        return ArchitectureAdapterFactory.select_architecture_adapter(config)
    except (ValueError, KeyError) as error:
        raise ModelSourceError(f"TransformerLens does not support the architecture {architecture}: {error}") from error


class Adapter:
    """What TransformerLens knows about one Hugging Face model."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Raises ModelSourceError when TransformerLens does not support the architecture."""
        self._adapter = _adapter(model)
        self._architecture = type(model).__name__

    def shape(self) -> ModelShape:
        """The model's sizes."""
        cfg = self._adapter.cfg
        soft_cap = float(cfg.output_logits_soft_cap or 0.0)
        return ModelShape(
            architecture=self._architecture,
            n_layers=int(cfg.n_layers),
            n_heads=int(cfg.n_heads),
            n_key_value_heads=int(cfg.n_key_value_heads or cfg.n_heads),
            d_model=int(cfg.d_model),
            d_head=int(cfg.d_head),
            d_mlp=int(cfg.d_mlp or 0),
            d_vocab=int(cfg.d_vocab),
            n_ctx=int(cfg.n_ctx),
            soft_cap=soft_cap if soft_cap > 0 else None,
            norm_gain_has_offset=bool(cfg.rmsnorm_uses_offset),
        )

    def path(self, component: str) -> str | None:
        """Where `component` (a name of `hook_names`) lies in the Hugging Face model; none when nowhere."""
        try:
            return str(self._adapter.translate_transformer_lens_path(component))
        except ValueError:
            return None


def build_bridge(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> TransformerBridge:
    """The TransformerBridge of `model`: its own module tree over the same parameters and buffers.

    The bridge replaces modules of the tree it is given, so it gets a copy whose parameters are shared.
    """
    shared: dict[int, torch.Tensor] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    twin.set_attn_implementation("eager")
    return build_bridge_from_module(
        twin,
        type(model).__name__,
        hf_config=twin.config,
        tokenizer=tokenizer,
        model_name=str(model.name_or_path),
    )


__all__ = ["Adapter", "ModelShape", "TransformerBridge", "build_bridge", "hook_names"]
