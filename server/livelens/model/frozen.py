"""One forward pass of the plain Hugging Face model, linearised at itself: exact values, frozen gradients.

Three things are constants for the gradient and nothing else is: attention patterns, the denominators of
all norms (QK norms and post norms too), and what an activation function multiplies its input by. A gated
MLP's product gives each of its two factors half the gradient. Then every scalar is the exact sum of
`gradient . value` over its inputs and the biases between, so contributions are conserved layer by layer.

Sources: the local replacement model of circuit tracing (Ameisen et al. 2025, "Circuit Tracing"), here on
real neurons rather than on a transcoder's features; AttnLRP (Achtibat et al. 2024), whose rule for
products gives the half rule and whose identity rule for activations gives the frozen ratio; RelP
(Jafari et al. 2025), which uses such gradients in place of plain ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from livelens.analysis.nodes import AttributionError
from livelens.analysis.pacing import Pacing
from livelens.model.anatomy import Anatomy, bias_of
from livelens.model.attention import FrozenAttention, frozen_patterns
from livelens.model.capture import CaptureSite, ForwardHooks
from livelens.model.edits import SiteEdits, edits_by_position
from livelens.model.freeze_hooks import BiasPlace, BiasSite, FreezeHooks, StopHooks, StreamHook, is_close
from livelens.model.interventions import InterventionMasks
from livelens.model.operations import Change, RankOne, Replacement, RowsWritten, Scaled, Span

MAX_POSITIONS = 1024
_UNTRACED: dict[type[Change], str] = {Replacement: "replaces values", RankOne: "edits a weight matrix"}
MAX_BYTES = 8 * 2**30
_SITES: frozenset[CaptureSite] = frozenset(("z", "neurons", "attn_raw", "attn_out", "mlp_raw", "mlp_out", "resid"))


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSegment:
    """Masks that hold from position `from_pos` until the next segment's."""

    from_pos: int
    masks: InterventionMasks | None


@dataclass(slots=True, kw_only=True)
class FrozenLayer:
    """One layer's tensors, all of one graph. Batch of one.

    attn_in, mlp_in [1, pos, d_model]: the stream where attention and MLP read it; z [1, pos, n_heads *
    d_head]; neurons [1, pos, d_mlp]; attn_raw and mlp_raw [1, pos, d_model]: before any post norm;
    attn_out and mlp_out [1, pos, d_model]: what is added to the stream; resid_post [1, pos, d_model].
    """

    attn_in: Tensor
    mlp_in: Tensor
    z: Tensor
    neurons: Tensor
    attn_raw: Tensor | None
    mlp_raw: Tensor | None
    attn_out: Tensor
    mlp_out: Tensor
    resid_post: Tensor
    attention: FrozenAttention
    biases: dict[BiasPlace, list[BiasSite]]

    @property
    def is_parallel(self) -> bool:
        """Whether the MLP reads the stream that attention reads (GPT-NeoX)."""
        return self.mlp_in is self.attn_in


@dataclass(slots=True, kw_only=True)
class FrozenRun:
    """One linearised forward pass over token_ids, its graph kept. Used by the model thread only.

    stream [1, pos, d_model]: the residual stream before layer 0, the leaf of the graph; positional
    [pos, d_model]: the positional embedding in it, none where there is none; normed [1, pos, d_model]:
    what the unembedding reads.
    """

    anatomy: Anatomy
    token_ids: list[int]
    stream: Tensor
    positional: Tensor | None
    layers: list[FrozenLayer]
    normed: Tensor
    edits: SiteEdits

    @property
    def n_positions(self) -> int:
        """Tokens of the run."""
        return len(self.token_ids)


class FrozenModel:
    """Makes linearised and plain differentiable forward passes of one model."""

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy, *, logit_scale: float = 1.0) -> None:
        """`logit_scale`: what the family multiplies its logits by (`Readout.logit_scale`).

        Raises AttributionError when a part cannot be frozen.
        """
        if any(layer.mlp_output is None or layer.activation is None for layer in anatomy.layers):
            raise AttributionError(
                f"{anatomy.shape.architecture} cannot be linearised: its MLPs are not of a known kind"
            )
        self.model = model
        self.anatomy = anatomy
        self.logit_scale = logit_scale
        self.final_norm = anatomy.norm_weights(anatomy.final_norm)
        self._mean_row: Tensor | None = None

    def max_positions(self) -> int:
        """How long a run may be: 1,024 positions, less where the graph would take more than 8 GiB."""
        shape = self.anatomy.shape
        n = min(MAX_POSITIONS, shape.n_ctx)
        wide = 24 * shape.d_model + 12 * shape.d_mlp + 12 * shape.n_heads * shape.d_head
        while n > 1 and 4 * shape.n_layers * n * (wide + 2 * shape.n_heads * n) > MAX_BYTES:
            n -= 16
        return max(n, 1)

    def check_tokens(self, token_ids: Sequence[int]) -> None:
        """Raise AttributionError unless these tokens can be run."""
        limit, d_vocab = self.max_positions(), self.anatomy.shape.d_vocab
        if not token_ids:
            raise AttributionError("there are no tokens to attribute to: start a run first")
        if len(token_ids) > limit:
            raise AttributionError(
                f"attribution takes at most {limit} positions of this model, the run has {len(token_ids)}:"
                " choose an earlier token or a shorter prompt"
            )
        for token_id in token_ids:
            if not 0 <= token_id < d_vocab:
                raise AttributionError(f"token {token_id} is outside the vocabulary: ids are 0 to {d_vocab - 1}")

    def run(
        self, token_ids: Sequence[int], segments: Sequence[MaskSegment] = (), *, pacing: Pacing | None = None
    ) -> FrozenRun:
        """The linearised forward pass over `token_ids`. Raises AttributionError.

        segments: ascending by from_pos; positions before the first are under no masks. pacing: may stop
        between layers; the model is as it was meanwhile, so that others can run it in another thread.
        """
        self.check_tokens(token_ids)
        reason = why_not_linear(segments, token_ids)
        if reason is not None:
            raise AttributionError(reason)
        edits = self.edits(segments, token_ids)
        ids = torch.tensor([list(token_ids)], device=self.model.device)
        # The order of entering is the order of hooks: what is edited and captured is what was frozen.
        with torch.enable_grad(), ExitStack() as stack:
            records = stack.enter_context(frozen_patterns())
            frozen = stack.enter_context(FreezeHooks(self.anatomy))
            captured = stack.enter_context(ForwardHooks(self.anatomy, edits=edits, sites=_SITES))
            if pacing is not None:
                stack.enter_context(StopHooks(self.anatomy, (frozen, captured), pacing))
            normed = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return self._gather(list(token_ids), frozen, records, captured, normed, edits)

    def edits(self, segments: Sequence[MaskSegment], token_ids: Sequence[int]) -> SiteEdits:
        """The edits of one forward call over all of `token_ids`, each position under its own segment's masks."""
        starts = [segment.from_pos for segment in segments]
        if starts != sorted(set(starts)) or any(start < 0 for start in starts):
            raise AttributionError("segments of interventions must ascend by their first position")
        return edits_by_position(
            segments,
            Span(0, tuple(token_ids)),
            shape=self.anatomy.shape,
            device=self.model.device,
            dtype=self.model.dtype,
        )

    def plain(
        self,
        stream_of: Callable[[Tensor], Tensor],
        token_ids: Sequence[int],
        edits: SiteEdits,
        rows: int,
        *,
        pacing: Pacing | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """normed [rows, pos, d_model] of the real model, nothing frozen, with gradients; and the streams.

        The streams [rows, pos, d_model]: after each layer, so that gradients can be taken a layer at a time.
        stream_of: from the residual stream before layer 0 [1, pos, d_model] to what goes in for it
        [rows, pos, d_model]. pacing: as in `run`.
        """
        ids = torch.tensor([list(token_ids)] * rows, device=self.model.device)
        with torch.enable_grad(), ExitStack() as stack:
            replaced = stack.enter_context(StreamHook(self.anatomy, stream_of))
            captured = stack.enter_context(ForwardHooks(self.anatomy, edits=edits, sites=frozenset(("resid",))))
            if pacing is not None:
                stack.enter_context(StopHooks(self.anatomy, (replaced, captured), pacing))
            normed: Tensor = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return normed, [_there(tensor) for tensor in captured.tensors["resid"][1:]]

    def direction(self, target_id: int, distractor_id: int | None) -> tuple[Tensor, float]:
        """Direction [d_model] and constant: `normed . direction + constant` is the metric, before any soft cap.

        Raises AttributionError for tokens that are equal or outside the vocabulary.
        """
        d_vocab = self.anatomy.shape.d_vocab
        for what, token_id in (("target", target_id), ("distractor", distractor_id)):
            if token_id is not None and not 0 <= token_id < d_vocab:
                raise AttributionError(f"{what} {token_id} is outside the vocabulary: ids are 0 to {d_vocab - 1}")
        if target_id == distractor_id:
            raise AttributionError(f"target and distractor are both token {target_id}: choose two that differ")
        weight = self.anatomy.unembed.weight
        if not isinstance(weight, Tensor):
            raise TypeError("the unembedding has no weight")
        away = self._mean_unembedding(weight) if distractor_id is None else weight[distractor_id].detach().float()
        direction = (weight[target_id].detach().float() - away) * self.logit_scale
        bias = bias_of(self.anatomy.unembed)
        if bias is None:
            return direction, 0.0
        away_from = bias.float().mean() if distractor_id is None else bias[distractor_id].float()
        return direction, float(bias[target_id].float() - away_from) * self.logit_scale

    def _mean_unembedding(self, weight: Tensor) -> Tensor:
        if self._mean_row is None:
            self._mean_row = weight.detach().mean(0, dtype=torch.float32)
        return self._mean_row

    def _gather(
        self,
        token_ids: list[int],
        frozen: FreezeHooks,
        records: dict[nn.Module, FrozenAttention],
        captured: ForwardHooks,
        normed: Tensor,
        edits: SiteEdits,
    ) -> FrozenRun:
        sites = captured.tensors
        layers: list[FrozenLayer] = []
        for index, parts in enumerate(self.anatomy.layers):
            if parts.attention not in records:
                raise AttributionError(f"{self.anatomy.shape.architecture} keeps its attention patterns to itself")
            layers.append(
                FrozenLayer(
                    attn_in=frozen.inputs["attn", index],
                    mlp_in=frozen.inputs["mlp", index],
                    z=_there(sites["z"][index]),
                    neurons=_there(sites["neurons"][index]),
                    attn_raw=sites["attn_raw"][index],
                    mlp_raw=sites["mlp_raw"][index],
                    attn_out=_there(sites["attn_out"][index]),
                    mlp_out=_there(sites["mlp_out"][index]),
                    resid_post=_there(sites["resid"][index + 1]),
                    attention=records[parts.attention],
                    biases=frozen.biases[index],
                )
            )
        # What is added to the stream, and nothing else: some families scale it (Granite).
        for layer in layers:
            written = layer.attn_in[0, -1] + layer.attn_out[0, -1] + layer.mlp_out[0, -1]
            if not is_close(written, layer.resid_post[0, -1]):
                raise AttributionError(
                    f"the stream of {self.anatomy.shape.architecture} is not the sum of what heads and MLPs write"
                )
        return FrozenRun(
            anatomy=self.anatomy,
            token_ids=token_ids,
            stream=_there(frozen.stream),
            positional=frozen.positional,
            layers=layers,
            normed=normed,
            edits=edits,
        )


def _there(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise AttributionError("a layer did not run, or did not fire its hook")
    return tensor


def why_not_linear(segments: Sequence[MaskSegment], token_ids: Sequence[int]) -> str | None:
    """Why a run over `token_ids` under these masks cannot be linearised; none where it can.

    Factors and written attention rows are constants like those that are frozen anyway. A value that was put in
    has no inputs to be credited to, neurons and heads have no part yet in what an edited matrix writes, and what is
    added to the stream or projected out of it belongs to no component.
    """
    stops = [*(segment.from_pos for segment in segments[1:]), len(token_ids)]
    for segment, stop in zip(segments, stops, strict=True) if segments else ():
        span = Span(segment.from_pos, tuple(token_ids[segment.from_pos : stop]))
        for operation in segment.masks.operations_on(span) if segment.masks is not None else ():
            if not isinstance(operation.change, Scaled | RowsWritten):
                what = _UNTRACED.get(type(operation.change), "writes into the stream")
                return (
                    f"an intervention {what} in this run up to that token, and contributions through it cannot be "
                    "traced yet: ask what is measured (effects, patching), or about an earlier token"
                )
    return None
