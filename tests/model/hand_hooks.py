"""A full forward of plain Hugging Face with changes written by hand: nothing of livelens in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from tests.model.reference import Reference
from torch import Tensor, nn

# Of one place: [n, width] in, the same out; of a pattern [n_heads, n, n].
Hand = Callable[[Tensor], Tensor]
# ("z" | "neurons" | "attn" | "mlp" | "resid" | "pattern", layer); resid n_layers is after the last layer.
Hands = Mapping[tuple[str, int], Hand]


@dataclass
class Seen:
    """logits [n, d_vocab]; the rest by layer: z, neurons [n, width], pattern [n_heads, n, n], resid [n, d_model]."""

    logits: Tensor
    z: list[Tensor]
    neurons: list[Tensor]
    pattern: list[Tensor]
    resid: list[Tensor]
    attn: list[Tensor]
    mlp: list[Tensor]


@torch.no_grad()
def forward_by_hand(reference: Reference, ids: Sequence[int], hands: Hands) -> Seen:
    """One full forward over `ids`, no cache, with `hands` at their places."""
    kept: dict[tuple[str, int], Tensor] = {}
    with ExitStack() as stack:
        for layer, block in enumerate(reference.blocks):
            attention, mlp = getattr(block, reference._attn), getattr(block, reference._mlp)
            post_attn, post_mlp = reference._post_attn, reference._post_mlp
            places = (
                (getattr(attention, reference._w_o), "z", layer, True),
                (getattr(mlp, reference._w_out), "neurons", layer, True),
                (getattr(block, post_attn) if post_attn else attention, "attn", layer, False),
                (getattr(block, post_mlp) if post_mlp else mlp, "mlp", layer, False),
                (block, "resid", layer + 1, False),
            )
            for module, site, at, is_input in places:
                _hook(stack, module, (site, at), hands, kept, is_input=is_input)
        _hook(stack, reference.blocks[0], ("resid", 0), hands, kept, is_input=True)
        stack.enter_context(_patterns_by_hand(reference, hands, kept))
        out = reference.model(torch.tensor([list(ids)]), use_cache=False)

    def each(site: str, n: int = len(reference.blocks)) -> list[Tensor]:
        return [kept[site, layer] for layer in range(n)]

    return Seen(
        logits=out.logits[0],
        z=each("z"),
        neurons=each("neurons"),
        pattern=each("pattern"),
        resid=each("resid", len(reference.blocks) + 1),
        attn=each("attn"),
        mlp=each("mlp"),
    )


def _hook(
    stack: ExitStack,
    module: nn.Module,
    place: tuple[str, int],
    hands: Hands,
    kept: dict[tuple[str, int], Tensor],
    *,
    is_input: bool,
) -> None:
    hand = hands.get(place)

    def changed(value: Tensor) -> Tensor:
        after = value if hand is None else hand(value[0])[None]
        kept[place] = after[0].clone()
        return after

    def before(module: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> object:
        if args:
            return (changed(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": changed(kwargs["hidden_states"])}

    def after(module: nn.Module, args: object, output: object) -> object:
        if isinstance(output, tuple):
            return (changed(output[0]), *output[1:])
        return changed(output)

    if is_input:
        handle = module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = module.register_forward_hook(after)
    stack.callback(handle.remove)


@contextmanager
def _patterns_by_hand(reference: Reference, hands: Hands, kept: dict[tuple[str, int], Tensor]) -> Iterator[None]:
    """Between softmax and value: the eager function of the model's own file, and the values mixed once more."""
    layers = {getattr(block, reference._attn): layer for layer, block in enumerate(reference.blocks)}
    file = sys.modules[type(next(iter(layers))).__module__]
    eager = file.eager_attention_forward

    def by_hand(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        output, pattern = eager(module, query, key, value, *args, **kwargs)
        layer = layers[module]
        hand = hands.get(("pattern", layer))
        if hand is not None:
            pattern = hand(pattern[0])[None]
            values = value.repeat_interleave(pattern.shape[1] // value.shape[1], dim=1)
            output = (pattern @ values).transpose(1, 2).contiguous()
        kept["pattern", layer] = pattern[0].clone()
        return output, pattern

    file.eager_attention_forward = by_hand
    try:
        yield
    finally:
        file.eager_attention_forward = eager
