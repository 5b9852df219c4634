"""`livelens.view` on a TransformerBridge that somebody has: the same numbers, and the bridge stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import livelens
from livelens.client import LivelensError
from livelens.model.bridge import TransformerBridge, build_bridge
from livelens.model.source_errors import ModelSourceError

PROMPT = "31415926"  # a token each, of those few that the tiny models have
FAMILIES = ("llama", "gpt2", "gemma2")
NEURONS = ("L0N0", "L1N5", "L2N39")
HEADS = ("L0H0", "L1H1")


def bridge_of(folder: Path) -> TransformerBridge:
    model = AutoModelForCausalLM.from_pretrained(str(folder), attn_implementation="eager", dtype=torch.float32).eval()
    return build_bridge(model, AutoTokenizer.from_pretrained(str(folder)))


def everything_of(bridge: TransformerBridge) -> dict[str, object]:
    """Where every parameter lies, its bits, its flags; every hook; the mode of every module."""
    return {
        "parameters": {
            name: (
                parameter.data_ptr(),
                parameter.stride(),
                parameter.requires_grad,
                parameter.detach().numpy().tobytes(),
            )
            for name, parameter in bridge.original_model.named_parameters(remove_duplicate=False)
        },
        "hooks": {
            name: (
                len(module._forward_hooks),
                len(module._forward_pre_hooks),
                len(module._backward_hooks),
                module.training,
            )
            for name, module in bridge.original_model.named_modules()
        },
        "attention": bridge.original_model.config._attn_implementation,
    }


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_numbers_are_transformer_lens_own_and_the_bridge_is_left_as_it_was(
    tiny_folder: Callable[[str], Path], family: str
) -> None:
    bridge = bridge_of(tiny_folder(family))
    fired: list[str] = []
    bridge.add_hook("blocks.1.hook_resid_pre", lambda tensor, hook: fired.append(hook.name))
    with torch.inference_mode():
        bridge(torch.tensor([[1, 2, 3]]))  # the first call hangs hooks of the bridge's own
    fired.clear()
    before = everything_of(bridge)
    with livelens.view(bridge) as view:
        held = {parameter.data_ptr() for parameter in bridge.original_model.parameters()}
        assert {parameter.data_ptr() for parameter in view._engine._model.parameters()} <= held  # no second copy
        run = view.generate(PROMPT, max_new_tokens=6, channels=["neurons", "heads"]).finish().run
        values, heads = view.values(*NEURONS), view.values(*HEADS).values
        assert fired == []  # what the view does goes past the bridge and its hooks
        with torch.inference_mode():
            bridge(torch.tensor([run.token_ids]))
        assert fired == ["blocks.1.hook_in"]  # TransformerLens's other name of it: the user's hook, as ever
        view.ablate("L1.mlp", "L0H1")
        assert view.generate(PROMPT, max_new_tokens=6).finish().run.token_ids != run.token_ids
    assert everything_of(bridge) == before
    with torch.inference_mode():
        logits, cache = bridge.run_with_cache(torch.tensor([run.token_ids]))
    for row, name in enumerate(NEURONS):
        layer, neuron = map(int, name[1:].split("N"))
        expected = cache[f"blocks.{layer}.mlp.hook_post"][0, values.positions[:-1], neuron].numpy()
        np.testing.assert_allclose(values.values[row, :-1], expected, rtol=1e-5, atol=1e-5, err_msg=name)
    if family != "gemma2":  # there the heads' sum goes through a norm of its own before it is written
        for row, name in enumerate(HEADS):
            layer, head = map(int, name[1:].split("H"))
            written = cache[f"blocks.{layer}.attn.hook_z"][0, :-1, head] @ bridge.W_O[layer, head].detach()
            np.testing.assert_allclose(
                heads[row, :-1], written.norm(dim=-1).numpy(), rtol=1e-5, atol=1e-5, err_msg=name
            )
    greedy = logits[0, run.n_prompt_tokens - 1 : -1].argmax(-1).tolist()
    assert run.token_ids[run.n_prompt_tokens :] == greedy


@pytest.mark.usefixtures("one_thread")
def test_a_bridge_that_is_not_the_plain_model_is_refused(tiny_folder: Callable[[str], Path]) -> None:
    """Folded weights are another model's numbers, and must not be shown as the plain one's."""
    bridge = bridge_of(tiny_folder("llama"))
    bridge.enable_compatibility_mode()
    with pytest.raises(ModelSourceError, match="process"):
        livelens.view(bridge)
    with pytest.raises(ModelSourceError, match=r"^Linear is no TransformerBridge.*or the name or folder"):
        livelens.view(torch.nn.Linear(1, 1))
    bridge = bridge_of(tiny_folder("llama"))
    bridge.tokenizer = None
    with pytest.raises(ModelSourceError, match="tokenizer"):
        livelens.view(bridge)


@pytest.mark.usefixtures("one_thread")
def test_an_engine_that_fails_is_an_exception_in_the_cell(tiny_folder: Callable[[str], Path]) -> None:
    """The tiny models know 600 tokens, their tokenizer more."""
    with livelens.view(bridge_of(tiny_folder("llama"))) as view:
        with pytest.raises(LivelensError, match="token ids must be 0 to 599"):
            view.generate("When Mary and John went to the store").finish()
        with pytest.raises(LivelensError, match="token ids must be 0 to 599"):
            list(view.generate("When Mary and John went to the store"))
        assert view.generate(PROMPT, max_new_tokens=2).finish().is_finished


@pytest.mark.usefixtures("one_thread")
def test_two_views_of_one_bridge_do_not_see_each_other(tiny_folder: Callable[[str], Path]) -> None:
    """Token by token in turns, with a part away in one of them; and the one goes on when the other is closed."""
    bridge = bridge_of(tiny_folder("llama"))
    before = everything_of(bridge)
    with livelens.view(bridge) as alone:
        clean = alone.generate(PROMPT, max_new_tokens=6).finish().run.token_ids
        alone.ablate("L1.mlp", "L0H1")
        changed = alone.generate(PROMPT, max_new_tokens=6).finish().run.token_ids
    assert changed != clean
    first, second = livelens.view(bridge), livelens.view(bridge)
    second.ablate("L1.mlp", "L0H1")
    runs = [view.generate(PROMPT, max_new_tokens=6) for view in (first, second)]
    for _ in zip(*runs, strict=True):
        pass
    assert [run.run.token_ids for run in runs] == [clean, changed]
    first.close()
    assert second.generate(PROMPT, max_new_tokens=6).finish().run.token_ids == changed
    second.close()
    assert everything_of(bridge) == before


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("n_moved", [1, 1000])
def test_a_bridge_on_another_device_is_one_clear_error(tiny_folder: Callable[[str], Path], n_moved: int) -> None:
    """Weights that are nowhere (`meta`), or on two devices: refused before anything runs, and left as they are."""
    bridge = bridge_of(tiny_folder("llama"))
    linears = [module for module in bridge.original_model.modules() if isinstance(module, torch.nn.Linear)]
    for module in linears[:n_moved]:
        module._parameters["weight"] = torch.nn.Parameter(module.weight.to("meta"), requires_grad=False)
    with pytest.raises(ModelSourceError, match="device"):
        livelens.view(bridge)
