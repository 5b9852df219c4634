"""The hooks that freeze one forward pass: norms, activations and gates; see `frozen.py` for what and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from livelens.analysis.nodes import AttributionError
from livelens.analysis.norms import NormWeights
from livelens.analysis.pacing import Pacing
from livelens.model.anatomy import Anatomy, LayerAnatomy, bias_of
from livelens.model.attention import carry
from livelens.model.block_arguments import Arguments, with_stream
from livelens.model.hook_frame import HookFrame

BiasPlace = Literal["attn_read", "attn_write", "mlp_read", "mlp_write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasSite:
    """Where a bias [d_out] is added: `output` [1, pos, ..., d_out] is the tensor it is part of."""

    name: str
    output: Tensor
    bias: Tensor


def is_close(ours: Tensor, theirs: Tensor) -> bool:
    """Equal but for the rounding of the model's own precision."""
    tolerance = 1e-3 if theirs.dtype == torch.float32 else 5e-2
    gap = (ours.detach().float() - theirs.detach().float()).abs().max()
    return bool(gap <= tolerance * theirs.detach().float().abs().max().clamp(min=1.0))


class StreamHook(HookFrame):
    """Context manager round one forward call that gives layer 0 `stream_of(stream)` in place of the stream."""

    def __init__(self, anatomy: Anatomy, stream_of: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._anatomy = anatomy
        self._stream_of = stream_of

    def _register(self) -> None:
        self._handles.append(_hook_stream(self._anatomy, self._stream_of))


def _hook_stream(anatomy: Anatomy, stream_of: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Give layer 0 `stream_of(stream)` in place of the stream."""

    def hook(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> Arguments:
        return with_stream(module, args, kwargs, stream_of)

    return anatomy.layers[0].block.register_forward_pre_hook(hook, with_kwargs=True)


class FreezeHooks(HookFrame):
    """Context manager round one forward call that freezes norms, activations and gates, and keeps what is read.

    inputs: ("attn" | "mlp", layer) -> [1, pos, d_model] of the stream; biases: by layer and place.
    """

    def __init__(self, anatomy: Anatomy) -> None:
        super().__init__()
        self._anatomy = anatomy
        self.stream: Tensor | None = None
        self.positional: Tensor | None = None
        self.inputs: dict[tuple[Literal["attn", "mlp"], int], Tensor] = {}
        self.biases: list[dict[BiasPlace, list[BiasSite]]] = [
            {"attn_read": [], "attn_write": [], "mlp_read": [], "mlp_write": []} for _ in anatomy.layers
        ]

    def _register(self) -> None:
        self._handles.append(_hook_stream(self._anatomy, self._start))
        if self._anatomy.position_embed is not None:
            self._handles.append(self._anatomy.position_embed.register_forward_hook(self._keep_positional))
        for layer, parts in enumerate(self._anatomy.layers):
            self._hook_layer(layer, parts)
        self._freeze_norm(self._anatomy.final_norm)

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
            if not is_close(linear, output):
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


class StopHooks(HookFrame):
    """Context manager round one forward call, the last entered, that lets it stop between layers.

    While it stands still every hook of the call is off the model: another call, in another thread, is
    neither frozen nor edited by this one's.
    """

    def __init__(self, anatomy: Anatomy, hooks: tuple[HookFrame, ...], pacing: Pacing) -> None:
        super().__init__()
        self._anatomy = anatomy
        self._hooks = hooks
        self._pacing = pacing

    def _register(self) -> None:
        # The last layer is followed by too little to stop for.
        self._handles += [parts.block.register_forward_hook(self._stop) for parts in self._anatomy.layers[:-1]]

    def _stop(self, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        if not self._pacing.is_due:
            return
        for hooks in (self, *reversed(self._hooks)):
            hooks.__exit__(None, None, None)
        self._pacing.stop()
        for hooks in (*self._hooks, self):
            hooks.__enter__()
