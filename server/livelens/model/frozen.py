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

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from livelens.analysis.nodes import AttributionError
from livelens.analysis.norms import NormWeights
from livelens.model.anatomy import Anatomy, LayerAnatomy, bias_of
from livelens.model.attention import FrozenAttention, carry, frozen_patterns
from livelens.model.capture import CaptureSite, ForwardHooks
from livelens.model.edits import Edit, EditSite, SiteEdits, edits_from
from livelens.model.interventions import InterventionMasks

MAX_POSITIONS = 1024
MAX_BYTES = 8 * 2**30
_SITES: frozenset[CaptureSite] = frozenset(("z", "neurons", "attn_raw", "attn_out", "mlp_raw", "mlp_out", "resid"))
BiasPlace = Literal["attn_read", "attn_write", "mlp_read", "mlp_write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSegment:
    """Masks that hold from position `from_pos` until the next segment's."""

    from_pos: int
    masks: InterventionMasks | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasSite:
    """Where a bias [d_out] is added: `output` [1, pos, ..., d_out] is the tensor it is part of."""

    name: str
    output: Tensor
    bias: Tensor


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

    def run(self, token_ids: Sequence[int], segments: Sequence[MaskSegment] = ()) -> FrozenRun:
        """The linearised forward pass over `token_ids`. Raises AttributionError.

        segments: ascending by from_pos; positions before the first are under no masks.
        """
        self.check_tokens(token_ids)
        edits = self.edits(segments, len(token_ids))
        ids = torch.tensor([list(token_ids)], device=self.model.device)
        # The order of entering is the order of hooks: what is edited and captured is what was frozen.
        with torch.enable_grad(), ExitStack() as stack:
            records = stack.enter_context(frozen_patterns())
            frozen = stack.enter_context(_FreezeHooks(self.anatomy))
            captured = stack.enter_context(ForwardHooks(self.anatomy, edits=edits, sites=_SITES))
            normed = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return self._gather(list(token_ids), frozen, records, captured, normed, edits)

    def edits(self, segments: Sequence[MaskSegment], n_positions: int) -> SiteEdits:
        """The edits of one forward call over all positions, each under its own segment's masks."""
        device, dtype = self.model.device, self.model.dtype
        starts = [segment.from_pos for segment in segments]
        if starts != sorted(set(starts)) or any(start < 0 for start in starts):
            raise AttributionError("segments of interventions must ascend by their first position")
        inside = [segment for segment in segments if segment.from_pos < n_positions]
        stops = [*(segment.from_pos for segment in inside[1:]), n_positions][: len(inside)]
        parts = [
            (segment.from_pos, stop, edits_from([segment.masks], shape=self.anatomy.shape, device=device, dtype=dtype))
            for segment, stop in zip(inside, stops, strict=True)
        ]
        joined = SiteEdits()
        for site, layer in sorted({key for _, _, edits in parts for key in edits.edits}):
            joined.edits[site, layer] = _by_position(
                [(start, stop, edit) for start, stop, edits in parts if (edit := edits.at(site, layer)) is not None]
            )
        return joined

    def plain(
        self, stream_of: Callable[[Tensor], Tensor], token_ids: Sequence[int], edits: SiteEdits, rows: int
    ) -> Tensor:
        """normed [rows, pos, d_model] of the real model, nothing frozen, with gradients.

        stream_of: from the residual stream before layer 0 [1, pos, d_model] to what goes in for it
        [rows, pos, d_model].
        """
        ids = torch.tensor([list(token_ids)] * rows, device=self.model.device)
        with torch.enable_grad(), ExitStack() as stack:
            stack.enter_context(_replaced_stream(self.anatomy, stream_of))
            stack.enter_context(ForwardHooks(self.anatomy, edits=edits, sites=frozenset(("resid",))))
            normed: Tensor = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        return normed

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
        frozen: _FreezeHooks,
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
            if not _close(written, layer.resid_post[0, -1]):
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


def _close(ours: Tensor, theirs: Tensor) -> bool:
    """Equal but for the rounding of the model's own precision."""
    tolerance = 1e-3 if theirs.dtype == torch.float32 else 5e-2
    gap = (ours.detach().float() - theirs.detach().float()).abs().max()
    return bool(gap <= tolerance * theirs.detach().float().abs().max().clamp(min=1.0))


def _by_position(parts: list[tuple[int, int, Edit]]) -> Edit:
    """One edit of [batch, pos, ...] that applies each of `parts` to its own positions."""

    def edit(tensor: Tensor) -> Tensor:
        pieces: list[Tensor] = []
        done = 0
        for start, stop, change in parts:
            pieces += [tensor[:, done:start], change(tensor[:, start:stop])]
            done = stop
        return torch.cat([*pieces, tensor[:, done:]], dim=1)

    return edit


@contextmanager
def _replaced_stream(anatomy: Anatomy, stream_of: Callable[[Tensor], Tensor]) -> Iterator[None]:
    handle = _hook_stream(anatomy, stream_of)
    try:
        yield
    finally:
        handle.remove()


def _hook_stream(anatomy: Anatomy, stream_of: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Give layer 0 `stream_of(stream)` in place of the stream."""

    def hook(
        module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        if args:
            return (stream_of(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": stream_of(kwargs["hidden_states"])}

    return anatomy.layers[0].block.register_forward_pre_hook(hook, with_kwargs=True)


class _FreezeHooks:
    """Context manager round one forward call that freezes norms, activations and gates, and keeps what is read.

    inputs: ("attn" | "mlp", layer) -> [1, pos, d_model] of the stream; biases: by layer and place.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        self._anatomy = anatomy
        self._handles: list[RemovableHandle] = []
        self.stream: Tensor | None = None
        self.positional: Tensor | None = None
        self.inputs: dict[tuple[Literal["attn", "mlp"], int], Tensor] = {}
        self.biases: list[dict[BiasPlace, list[BiasSite]]] = [
            {"attn_read": [], "attn_write": [], "mlp_read": [], "mlp_write": []} for _ in anatomy.layers
        ]

    def __enter__(self) -> Self:
        try:
            self._handles.append(_hook_stream(self._anatomy, self._start))
            if self._anatomy.position_embed is not None:
                self._handles.append(self._anatomy.position_embed.register_forward_hook(self._keep_positional))
            for layer, parts in enumerate(self._anatomy.layers):
                self._hook_layer(layer, parts)
            self._freeze_norm(self._anatomy.final_norm)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _start(self, stream: Tensor) -> Tensor:
        self.stream = stream.detach().clone().requires_grad_()
        return self.stream

    def _keep_positional(self, module: nn.Module, args: tuple[object, ...], output: Tensor) -> None:
        self.positional = output.detach().reshape(-1, output.shape[-1])

    def _hook_layer(self, layer: int, parts: LayerAnatomy) -> None:
        norms = (parts.attention_norm, parts.mlp_norm, parts.attention_post_norm, parts.mlp_post_norm)
        for norm in (*norms, parts.query_norm, parts.key_norm):
            if norm is not None:
                self._freeze_norm(norm)
        self._hook_reads(layer, parts)
        if parts.activation is not None and parts.mlp_output is not None:
            self._freeze_activation(parts.activation, parts.mlp_output)
        writes = (parts.attention_output, parts.mlp_output)
        for module in parts.attention.modules():
            if module not in writes:
                self._keep_bias(module, layer, parts, ("attn_read",))
        for module in parts.mlp.modules():
            if module not in writes:
                self._keep_bias(module, layer, parts, ("mlp_read",))
        shares_norm = parts.mlp_norm is None
        self._keep_bias(
            parts.attention_norm, layer, parts, ("attn_read", "mlp_read") if shares_norm else ("attn_read",)
        )
        self._keep_bias(parts.mlp_norm, layer, parts, ("mlp_read",))
        self._keep_bias(parts.attention_output, layer, parts, ("attn_write",), name="attn.b_O")
        self._keep_bias(parts.attention_post_norm, layer, parts, ("attn_write",), name="ln1_post.b")
        self._keep_bias(parts.mlp_output, layer, parts, ("mlp_write",), name="mlp.b_out")
        self._keep_bias(parts.mlp_post_norm, layer, parts, ("mlp_write",), name="ln2_post.b")

    def _hook_reads(self, layer: int, parts: LayerAnatomy) -> None:
        def keep(site: Literal["attn", "mlp"]) -> Callable[..., None]:
            def hook(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
                self.inputs[site, layer] = args[0] if args else kwargs["hidden_states"]

            return hook

        def keep_shared(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            self.inputs["mlp", layer] = args[0]

        reader = parts.attention if parts.attention_norm is None else parts.attention_norm
        self._handles.append(reader.register_forward_pre_hook(keep("attn"), with_kwargs=True))
        if parts.mlp_norm is not None:
            self._handles.append(parts.mlp_norm.register_forward_pre_hook(keep("mlp"), with_kwargs=True))
        elif parts.attention_norm is not None:  # one norm for both, side by side
            self._handles.append(parts.attention_norm.register_forward_pre_hook(keep_shared))
        else:
            self._handles.append(parts.mlp.register_forward_pre_hook(keep("mlp"), with_kwargs=True))

    def _freeze_norm(self, norm: nn.Module) -> None:
        weights: NormWeights = self._anatomy.norm_weights(norm)

        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            linear = weights.frozen(args[0])
            if not _close(linear, output):
                raise AttributionError(f"{type(module).__name__} is a norm of a kind that cannot be linearised")
            return carry(linear, output)

        self._handles.append(norm.register_forward_hook(hook))

    def _freeze_activation(self, activation: nn.Module, mlp_output: nn.Module) -> None:
        last: list[Tensor] = []

        def freeze(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            before = args[0].detach()
            # At 0 the input contributes 0 whatever the ratio, and 0 / 0 would be NaN.
            ratio = torch.where(before == 0, 0.0, output.detach() / before)
            last[:] = [carry(args[0] * ratio, output)]
            return last[0]

        def halve(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            neurons, activated = args[0], last.pop()
            if neurons is activated or (neurons.shape == activated.shape and torch.equal(neurons, activated)):
                return None  # no gate
            return carry(neurons * 0.5, neurons), *args[1:]

        self._handles.append(activation.register_forward_hook(freeze))
        self._handles.append(mlp_output.register_forward_pre_hook(halve))

    def _keep_bias(
        self,
        module: nn.Module | None,
        layer: int,
        parts: LayerAnatomy,
        places: tuple[BiasPlace, ...],
        *,
        name: str | None = None,
    ) -> None:
        bias = None if module is None else bias_of(module)
        if module is None or bias is None:
            return
        label = f"L{layer}.{name or parts.bias_names.get(module, type(module).__name__)}"

        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            for place in places:
                self.biases[layer][place].append(BiasSite(name=label, output=output, bias=bias))

        self._handles.append(module.register_forward_hook(hook))


__all__ = ["AttributionError", "BiasSite", "EditSite", "FrozenLayer", "FrozenModel", "FrozenRun", "MaskSegment"]
