"""Putting an engine together from a loaded model, and finding out what it can show.

One real forward call is compared with what livelens would compute from its captures; a channel that
does not agree is declared missing, with the reason, instead of being shown wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicCache

from livelens.analysis.nodes import AttributionError
from livelens.model import attention
from livelens.model.ablated_rows import rows_fault
from livelens.model.anatomy import Anatomy, read_anatomy
from livelens.model.capture import CaptureSite, ForwardHooks
from livelens.model.captured import CapturedTensors, TorchCaptured
from livelens.model.edits import NO_EDITS
from livelens.model.engine import LogitPair
from livelens.model.frozen import FrozenModel
from livelens.model.lens_thread import LensThread
from livelens.model.readout import Readout, WriteWeights
from livelens.model.sibling_linears import join_siblings
from livelens.model.source_errors import ModelSourceError
from livelens.model.tokens import Tokens
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    ANALYSIS_KINDS,
    ATTENTION_OPERATIONS,
    CHANNELS,
    OPERATIONS,
    AnalysisKind,
    Capabilities,
    Channel,
    ComponentKind,
    MissingAnalysis,
    MissingCapability,
    ModelInfo,
)

_PROBE_TOKENS = 3
_LINEARISED: tuple[AnalysisKind, ...] = ("attribution", "paths", "overview", "relevance")
_ALL_SITES: frozenset[CaptureSite] = frozenset(
    ("z", "neurons", "pattern", "attn_raw", "attn_out", "mlp_raw", "mlp_out", "resid")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """One forward call with everything captured, and the logits the model itself gave."""

    sites: dict[CaptureSite, list[Tensor | None]]
    normed: Tensor
    logits: Tensor


def assemble_engine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    model_name: str,
    weights_sha256: str,
    may_move_weights: bool = True,
) -> TorchEngine:
    """The engine of a loaded model (eager attention, eval mode).

    may_move_weights: put those together that are read together, which is faster; not where others hold them too.
    Raises ModelSourceError when TransformerLens does not know its architecture, or when its own logits
    cannot be reproduced.
    """
    anatomy = read_anatomy(model)
    probe = _probe(model, anatomy)
    if may_move_weights:
        join_siblings(model.base_model, lambda: model(input_ids=_probe_ids(model), use_cache=False))
    if attention.use(model) and not _same_when_stepped(model, probe.logits):
        model.set_attn_implementation("eager")
    readout = Readout(anatomy, logit_scale=_logit_scale(anatomy, probe))
    tolerance = _tolerance(model)
    if not _close(readout.logits(probe.normed[0]), probe.logits[0], tolerance):
        raise ModelSourceError(
            f"{anatomy.shape.architecture} turns its residual stream into logits in a way livelens does not know"
        )
    weights = WriteWeights(anatomy, may_move=may_move_weights)
    missing = _missing(anatomy, probe, readout, weights, tolerance)
    missing += _missing_measured(model, anatomy, missing, tolerance)
    info = _model_info(
        model,
        anatomy,
        missing,
        model_name=model_name,
        sha256=weights_sha256,
        has_template=Tokens(tokenizer).has_chat_template,
        missing_analyses=_missing_analyses(model, anatomy, missing, readout.logit_scale),
    )
    return TorchEngine(model, tokenizer, anatomy=anatomy, readout=readout, weights=weights, info=info)


@torch.inference_mode()
def _probe(model: PreTrainedModel, anatomy: Anatomy) -> _Probe:
    normed: list[Tensor] = []

    def keep(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        normed.append(args[0])

    handle = anatomy.unembed.register_forward_pre_hook(keep)
    try:
        with ForwardHooks(anatomy, edits=NO_EDITS, sites=_ALL_SITES) as hooks:
            logits = model(input_ids=_probe_ids(model), use_cache=False).logits
    except TypeError as error:
        raise ModelSourceError(f"{anatomy.shape.architecture} cannot be watched: {error}") from error
    finally:
        handle.remove()
    return _Probe(sites=hooks.tensors, normed=normed[0], logits=logits.float())


@torch.inference_mode()
def _same_when_stepped(model: PreTrainedModel, logits: Tensor) -> bool:
    """Whether our attention, one token at a time, gives the model's own logits."""
    cache = DynamicCache()
    steps = [
        model(input_ids=ids, past_key_values=cache, use_cache=True).logits
        for ids in torch.split(_probe_ids(model), 1, dim=1)
    ]
    return _close(torch.cat(steps, dim=1).float(), logits, _tolerance(model))


def _probe_ids(model: PreTrainedModel) -> Tensor:
    return torch.arange(1, 1 + _PROBE_TOKENS, device=model.device)[None] % int(model.config.vocab_size)


def _tolerance(model: PreTrainedModel) -> float:
    return 1e-3 if model.dtype == torch.float32 else 5e-2


@torch.inference_mode()
def _logit_scale(anatomy: Anatomy, probe: _Probe) -> float:
    """What the family multiplies its logits by (1 in most), read off the probe: least squares."""
    raw = anatomy.unembed(probe.normed).float()
    cap = anatomy.shape.soft_cap
    given = probe.logits if cap is None else torch.atanh((probe.logits / cap).clamp(-0.999999, 0.999999)) * cap
    scale = float((raw * given).sum() / raw.square().sum())
    return 1.0 if abs(scale - 1.0) < 1e-3 else scale


def _close(ours: Tensor, theirs: Tensor, tolerance: float) -> bool:
    return float((ours - theirs).abs().max()) <= tolerance * max(1.0, float(theirs.abs().max()))


def _missing(
    anatomy: Anatomy, probe: _Probe, readout: Readout, weights: WriteWeights, tolerance: float
) -> list[MissingCapability]:
    """The channels this model cannot give, and why."""
    missing: list[MissingCapability] = []
    if any(layer.mlp_output is None for layer in anatomy.layers):
        missing.append(MissingCapability(channel="neurons", reason="its MLPs have no single output matrix"))
    if any(pattern is None for pattern in probe.sites["pattern"]):
        missing.append(MissingCapability(channel="attention", reason="its attention keeps no pattern"))
    last = probe.sites["resid"][-1]
    with torch.inference_mode():
        normed = None if last is None else anatomy.final_norm(last)
    if normed is None or not _close(normed.float(), probe.normed.float(), tolerance):
        missing.append(
            MissingCapability(channel="logit_lens", reason="its last layer is not followed by the final norm")
        )
    reason = _direct_logit_fault(anatomy, probe, readout, weights, tolerance)
    if reason is not None:
        missing.append(MissingCapability(channel="direct_logit", reason=reason))
    return missing


def _direct_logit_fault(
    anatomy: Anatomy, probe: _Probe, readout: Readout, weights: WriteWeights, tolerance: float
) -> str | None:
    if any(layer.mlp_output is None for layer in anatomy.layers):
        return "its MLPs have no single output matrix"
    tensors = CapturedTensors(
        sites=probe.sites, normed=probe.normed, last_logits=probe.logits[:, -1], next_ids=[1, 1], edits=NO_EDITS
    )
    captured = TorchCaptured(tensors, readout=readout, weights=weights, lens_thread=LensThread(readout))
    only: frozenset[Channel] = frozenset(("direct_logit",))
    direct = captured.arrays(0, channels=only, chosen_id=1, pair=LogitPair(target_id=1, distractor_id=2)).direct
    if direct is None:
        return "it could not be computed"
    parts = np.concatenate([direct.heads.ravel(), direct.mlps, direct.attn_bias, [direct.embed, direct.final_bias]])
    if abs(float(parts.sum()) - direct.total) > tolerance * max(1.0, float(np.abs(parts).max())):
        return "its residual stream is not the sum of what heads and MLPs write"
    return None


def _missing_measured(
    model: PreTrainedModel, anatomy: Anatomy, missing: list[MissingCapability], tolerance: float
) -> list[MissingCapability]:
    """causal_effects, where there is nothing to measure or no way to."""
    reasons = [entry.reason for entry in missing if entry.channel == "direct_logit"]
    fault = reasons[0] if reasons else rows_fault(model, anatomy, _probe_ids(model), tolerance=tolerance)
    return [] if fault is None else [MissingCapability(channel="causal_effects", reason=fault)]


def _missing_analyses(
    model: PreTrainedModel, anatomy: Anatomy, missing: list[MissingCapability], logit_scale: float
) -> list[MissingAnalysis]:
    """The questions that cannot be answered about this model, and why."""
    reasons: dict[AnalysisKind, str] = {}
    for entry in missing:
        if entry.channel == "neurons":
            reasons["neuron_profile"] = entry.reason
        if entry.channel == "attention":
            reasons["head_profile"] = reasons["head_scores"] = reasons["attention_entropy"] = entry.reason
        if entry.channel == "logit_lens":
            reasons["lens"] = entry.reason
        if entry.channel == "direct_logit":
            reasons["head_lens"] = entry.reason
    try:
        FrozenModel(model, anatomy, logit_scale=logit_scale).run(_probe_ids(model)[0].tolist())
    except AttributionError as error:
        reasons |= dict.fromkeys(_LINEARISED, str(error))
    return [MissingAnalysis(analysis=kind, reason=reasons[kind]) for kind in ANALYSIS_KINDS if kind in reasons]


def _model_info(
    model: PreTrainedModel,
    anatomy: Anatomy,
    missing: list[MissingCapability],
    *,
    model_name: str,
    sha256: str,
    has_template: bool,
    missing_analyses: list[MissingAnalysis],
) -> ModelInfo:
    shape = anatomy.shape
    absent = {entry.channel for entry in missing}
    unanswered = {entry.analysis for entry in missing_analyses}
    kinds: list[ComponentKind] = ["head", "neuron", "attn", "mlp"]
    if "neurons" in absent:
        kinds.remove("neuron")
    return ModelInfo(
        model_name=model_name,
        architecture=shape.architecture,
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        n_key_value_heads=shape.n_key_value_heads,
        d_model=shape.d_model,
        d_head=shape.d_head,
        d_mlp=shape.d_mlp,
        d_vocab=shape.d_vocab,
        n_ctx=shape.n_ctx,
        dtype=str(model.dtype).removeprefix("torch."),
        weights_sha256=sha256,
        capabilities=Capabilities(
            channels=[channel for channel in CHANNELS if channel not in absent],
            operations=[one for one in OPERATIONS if one not in ATTENTION_OPERATIONS or attention.is_used_by(model)],
            component_kinds=kinds,
            missing=missing,
            has_chat_template=has_template,
            analyses=[kind for kind in ANALYSIS_KINDS if kind not in unanswered],
            missing_analyses=missing_analyses,
        ),
    )
