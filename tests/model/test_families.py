"""The same truth for every family, on tiny random models whose peculiarities all matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.model.driving import ALL, assert_greedy, assert_position_equals, close, drive, masks_at
from tests.model.families import D_MLP, FAMILIES, N_HEADS, N_LAYERS
from tests.model.reference import Edit, Reference

from livelens.model import hook_names
from livelens.model.engine import LogitPair
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import CHANNELS

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPT = [5, 100, 42, 7, 310, 599, 12, 451, 3]
EVERY_KIND = {
    "heads": {(0, 3): 0.0, (2, 1): 0.0, (1, 0): -2.0},
    "neurons": {(0, 39): 0.0, (1, 7): 0.0, (2, 0): 3.0},
    "attn": {1: 0.5},
    "mlp": {2: 0.0, 0: 1.5},
}
Engines = Callable[[str], TorchEngine]
References = Callable[[str], Reference]


@pytest.mark.parametrize("family", FAMILIES)
def test_info_tells_the_shape_and_that_nothing_is_missing(tiny: Engines, family: str) -> None:
    info = tiny(family).info
    assert (info.n_layers, info.n_heads, info.d_mlp, info.d_model) == (N_LAYERS, N_HEADS, D_MLP, 32)
    assert info.d_head == (16 if family == "qwen3" else 8)
    assert info.n_key_value_heads == (4 if family in ("gpt2", "gpt_neox") else 2)
    assert info.capabilities.channels == list(CHANNELS)
    assert info.capabilities.missing == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pair", [LogitPair(), LogitPair(target_id=11, distractor_id=400)], ids=["mean", "pair"])
def test_every_channel_equals_the_reference(
    tiny: Engines, tiny_reference: References, family: str, pair: LogitPair
) -> None:
    driven = drive(tiny(family), PROMPT, 12, pair=pair)
    full = tiny_reference(family).run(driven.tokens[:-1])
    assert_greedy(driven, full, len(PROMPT))
    assert driven.tokens == tiny_reference(family).greedy(PROMPT, 12)
    for position in driven.arrays:
        assert_position_equals(driven, tiny_reference(family), full, position, pair=pair)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [*EVERY_KIND, "all at once"])
def test_edits_hold_at_their_positions_only(tiny: Engines, tiny_reference: References, family: str, kind: str) -> None:
    chosen = EVERY_KIND if kind == "all at once" else {kind: EVERY_KIND[kind]}
    edits = [Edit(start=4, stop=len(PROMPT) + 5, **chosen)]
    driven = drive(tiny(family), PROMPT, 12, edits=edits)
    full = tiny_reference(family).run(driven.tokens[:-1], edits)
    for position in driven.arrays:
        assert_position_equals(driven, tiny_reference(family), full, position, edits=edits)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bridge_sees_what_the_streaming_path_sees(tiny: Engines, family: str) -> None:
    """TransformerLens's `run_with_cache` under its own hook names, on the same parameters."""
    engine = tiny(family)
    driven = drive(engine, PROMPT, 1)
    with torch.no_grad():
        logits, cache = engine.bridge.run_with_cache(torch.tensor([PROMPT]))
    for layer in range(N_LAYERS):
        has_post_norm = engine.anatomy.layers[layer].attention_post_norm is not None
        for position in range(len(PROMPT)):
            ours, what = driven.arrays[position], f"layer {layer} position {position}"

            def theirs(name: str, at: int = position) -> torch.Tensor:
                return cache[name][0, at]

            close(ours.neurons[layer], theirs(hook_names.hook_neurons(layer)), relative=2e-5, what=what)
            pattern = cache[hook_names.hook_pattern(layer)][0, :, position, : position + 1]
            close(ours.attention[layer], pattern, relative=2e-5, what=what)
            for norm, name in (
                (ours.residual[layer], hook_names.hook_resid_pre(layer)),
                (ours.residual[layer + 1], hook_names.hook_resid_post(layer)),
                (ours.attn_out[layer], hook_names.hook_attn_out(layer, has_post_norm=has_post_norm)),
                (ours.mlp_out[layer], hook_names.hook_mlp_out(layer, has_post_norm=has_post_norm)),
            ):
                assert float(theirs(name).norm()) == pytest.approx(float(norm), rel=2e-5), f"{what} {name}"
            z = theirs(hook_names.hook_z(layer)).reshape(N_HEADS, 1, -1)
            written = (z @ engine.bridge.W_O[layer])[:, 0].norm(dim=-1)
            close(ours.heads[layer], written, relative=2e-5, what=f"{what} heads")
    close(driven.logits[len(PROMPT) - 1], logits[0, -1], relative=2e-5, what="logits")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bridge_ablates_as_the_streaming_path_does(tiny: Engines, family: str) -> None:
    """TransformerLens's `run_with_hooks` at the named places gives the logits of our masks."""
    engine = tiny(family)
    edit = Edit(start=0, stop=100, **EVERY_KIND)
    masks = masks_at([edit], 0, engine.info)
    ours = engine.open_sequence().forward(PROMPT, masks=masks, channels=ALL)

    def scale_head(head: int, factor: float) -> Callable[..., torch.Tensor]:
        def hook(z: torch.Tensor, hook: object) -> torch.Tensor:
            z = z.clone()
            z.view(1, len(PROMPT), N_HEADS, -1)[:, :, head] *= factor
            return z

        return hook

    def scale_neuron(neuron: int, factor: float) -> Callable[..., torch.Tensor]:
        def hook(value: torch.Tensor, hook: object) -> torch.Tensor:
            value = value.clone()
            value[..., neuron] *= factor
            return value

        return hook

    def scale_all(factor: float) -> Callable[..., torch.Tensor]:
        return lambda value, hook: value * factor

    post = engine.anatomy.layers[0].attention_post_norm is not None
    hooks = [(hook_names.hook_z(layer), scale_head(head, f)) for (layer, head), f in edit.heads.items()]
    hooks += [(hook_names.hook_neurons(layer), scale_neuron(n, f)) for (layer, n), f in edit.neurons.items()]
    hooks += [(hook_names.hook_attn_out(layer, has_post_norm=post), scale_all(f)) for layer, f in edit.attn.items()]
    hooks += [(hook_names.hook_mlp_out(layer, has_post_norm=post), scale_all(f)) for layer, f in edit.mlp.items()]
    with torch.no_grad():
        theirs = engine.bridge.run_with_hooks(torch.tensor([PROMPT]), fwd_hooks=hooks)
    close(ours.logits, theirs[0, -1], relative=2e-5, what="logits")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bridge_has_no_second_copy_of_the_parameters(tiny: Engines, family: str) -> None:
    engine = tiny(family)
    ours = {parameter.data_ptr() for parameter in engine.model.parameters()}
    theirs = {parameter.data_ptr(): parameter for parameter in engine.bridge.original_model.parameters()}
    copied = sum(parameter.nbytes for pointer, parameter in theirs.items() if pointer not in ours)
    # TransformerLens itself splits joint query/key/value matrices (GPT-2, GPT-NeoX) into three.
    joint = N_LAYERS * (3 * 32 * 32 + 3 * 32) * 4 if family in ("gpt2", "gpt_neox") else 0
    assert copied <= joint
