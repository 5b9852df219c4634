"""Hooks that change and copy out what a forward call does; they live exactly as long as the call.

Where both happen at one site the edit comes first: what is captured is what the rest of the network
was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from livelens.model.anatomy import Anatomy, LayerAnatomy
from livelens.model.attention import PatternEdits
from livelens.model.edits import EditSite, Factor, Place, SiteEdits
from livelens.model.hook_frame import HookFrame
from livelens.model.operations import MatrixSite
from livelens.protocol.messages import Channel

# attn_raw, mlp_raw: what goes into the norm after attention or MLP, in models that have one. w_o, w_out: what comes
# out of these matrices.
CaptureSite = Literal["z", "neurons", "pattern", "attn_raw", "attn_out", "mlp_raw", "mlp_out", "resid"] | MatrixSite

_SITES: dict[Channel, tuple[CaptureSite, ...]] = {
    "neurons": ("neurons",),
    "heads": ("z",),
    "attention": ("pattern",),
    "residual": ("attn_out", "mlp_out"),
    "logit_lens": (),
    "direct_logit": ("z", "neurons", "attn_raw", "mlp_raw", "mlp_out"),
    "causal_effects": ("z", "neurons", "attn_raw", "mlp_raw", "mlp_out"),  # of the strongest direct contributions
    "difference": (),  # of what the other channels capture, in both rows
}


def sites_for(channels: frozenset[Channel]) -> frozenset[CaptureSite]:
    """What must be captured for `channels`; the residual stream always, to name a layer that breaks."""
    return frozenset(("resid", *(site for channel in channels for site in _SITES[channel])))


def _first(output: object) -> Tensor:
    """The tensor a module returns, alone or first of a tuple."""
    first = output[0] if isinstance(output, tuple) else output
    if not isinstance(first, Tensor):
        raise TypeError(f"a module returned {type(first).__name__}, not a tensor")
    return first


def _replace_first(output: object, tensor: Tensor) -> object:
    return (tensor, *output[1:]) if isinstance(output, tuple) else tensor


class ForwardHooks(HookFrame):
    """Context manager round one forward call: edits the sites of `edits`, captures `sites`.

    After the call `tensors[site][layer]` is [batch, pos, width] (pattern: [batch, n_heads, pos,
    key_pos]); `resid` has n_layers + 1 entries, before layer 0 and after each layer.
    """

    def __init__(self, anatomy: Anatomy, *, edits: SiteEdits, sites: frozenset[CaptureSite]) -> None:
        super().__init__()
        self._anatomy = anatomy
        self._edits = edits
        self._sites = sites
        n_layers = anatomy.shape.n_layers
        self.tensors: dict[CaptureSite, list[Tensor | None]] = {
            site: [None] * (n_layers + (site == "resid")) for site in sites
        }
        # What edits, other than factors, wrote: of the stream and of a weight matrix the difference they made, of a
        # layer's attention all.
        self.written: dict[Place, Tensor] = {}
        self._patterns = PatternEdits(
            {
                parts.attention: edit
                for layer, parts in enumerate(anatomy.layers)
                if (edit := edits.at("pattern", layer)) is not None
            }
        )

    def _register(self) -> None:
        self._patterns.enter()
        self._hook_stream_start(self._anatomy.layers[0].block)
        for layer, parts in enumerate(self._anatomy.layers):
            self._hook_layer(layer, parts)

    def _remove(self) -> None:
        self._patterns.leave()
        super()._remove()

    def _hook_layer(self, layer: int, parts: LayerAnatomy) -> None:
        self._hook_input(parts.attention_output, "z", layer)
        self._hook_matrix(parts.attention_output, "w_o", layer)
        if parts.mlp_output is not None:
            self._hook_input(parts.mlp_output, "neurons", layer)
            self._hook_matrix(parts.mlp_output, "w_out", layer)
        if "pattern" in self._sites:
            self._hook_pattern(parts.attention, layer)
        if parts.attention_post_norm is not None:
            self._hook_output(parts.attention, "attn_raw", layer, edit=None)
        if parts.mlp_post_norm is not None:
            self._hook_output(parts.mlp, "mlp_raw", layer, edit=None)
        self._hook_output(parts.attn_write, "attn_out", layer, edit="attn_out")
        self._hook_output(parts.mlp_write, "mlp_out", layer, edit="mlp_out")
        self._hook_output(parts.block, "resid", layer + 1, edit="resid")

    def _hook_stream_start(self, block: nn.Module) -> None:
        store = self.tensors["resid"]
        edit = self._edits.at("resid", 0)

        def hook(
            module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]
        ) -> tuple[tuple[object, ...], dict[str, object]] | None:
            stream = _first(args if args else kwargs["hidden_states"])
            store[0] = stream if edit is None else edit(stream)
            if edit is None:
                return None
            return ((store[0], *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": store[0]})

        self._handles.append(block.register_forward_pre_hook(hook, with_kwargs=True))

    def _hook_input(self, module: nn.Module, site: Literal["z", "neurons"], layer: int) -> None:
        edit = self._edits.at(site, layer)
        store = self.tensors.get(site)
        if edit is None and store is None:
            return

        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
            tensor = args[0] if edit is None else edit(args[0])
            if store is not None:
                store[layer] = tensor
            return None if edit is None else (tensor, *args[1:])

        self._handles.append(module.register_forward_pre_hook(hook))

    def _hook_matrix(self, module: nn.Module, site: MatrixSite, layer: int) -> None:
        """An edit of a weight matrix reads what goes into it, as it was edited, and changes what comes out."""
        change, store = self._edits.at(site, layer), self.tensors.get(site)
        if change is None and store is None:
            return

        def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            written = output
            if change is not None:
                written = change(torch.cat([output, args[0]], dim=-1))[..., : output.shape[-1]]
                self.written[site, layer] = written - output
            if store is not None:
                store[layer] = written
            return written

        self._handles.append(module.register_forward_hook(hook))

    def _hook_output(self, module: nn.Module, site: CaptureSite, index: int, *, edit: EditSite | None) -> None:
        change = None if edit is None else self._edits.at(edit, index)
        store = self.tensors.get(site)
        if change is None and store is None:
            return

        keeps = change is not None and not isinstance(change, Factor)

        def hook(module: nn.Module, args: tuple[object, ...], output: object) -> object:
            tensor = _first(output) if change is None else change(_first(output))
            if keeps and site == "resid":
                self.written["resid", index] = tensor - _first(output)
            elif keeps and site == "attn_out":
                self.written["attn_out", index] = tensor
            if store is not None:
                store[index] = tensor
            return None if change is None else _replace_first(output, tensor)

        self._handles.append(module.register_forward_hook(hook))

    def _hook_pattern(self, module: nn.Module, layer: int) -> None:
        store = self.tensors["pattern"]

        def hook(module: nn.Module, args: tuple[object, ...], output: object) -> None:
            pattern = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if not isinstance(pattern, Tensor):
                raise TypeError(f"{type(module).__name__} gives no attention pattern")
            store[layer] = pattern

        self._handles.append(module.register_forward_hook(hook))


def stack(tensors: list[Tensor | None], pick: Callable[[Tensor], Tensor]) -> Tensor:
    """One tensor [n_layers, ...] of every layer's `pick`, float32."""
    picked = [pick(tensor) for tensor in tensors if tensor is not None]
    if len(picked) != len(tensors):
        raise RuntimeError("a layer did not run, or did not fire its hook")
    return torch.stack(picked).float()


def hooks_on(modules: list[nn.Module]) -> int:
    """Forward hooks registered on `modules` right now, of whatever owner."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules)
