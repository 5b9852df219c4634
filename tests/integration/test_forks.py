"""Branches of a run, on the shipped model over a real websocket."""

from __future__ import annotations

import numpy as np
from tests.integration.serving import PROMPT, serving

from livelens.client import Client, ClientRun, ablate
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import CHANNELS, InterventionSegment, Sampling

SAMPLED = Sampling(temperature=0.8, top_p=0.95, seed=3, max_new_tokens=12, stop_at_eos=False)
EXACT = ("neurons", "heads", "attention", "residual", "attn_out", "mlp_out", "direct_heads", "direct_mlps")


async def _run(client: Client, **options: object) -> ClientRun:
    channels = [channel for channel in CHANNELS if channel in client.model_info.capabilities.channels]
    run = await client.start_run(PROMPT, channels=channels, sampling=SAMPLED, **options)  # type: ignore[arg-type]
    await run.finished()
    return run


def _assert_same_arrays(branch: ClientRun, other: ClientRun, positions: range) -> None:
    for pos in positions:
        for name in EXACT:
            one, two = branch.steps[pos].tensors[name], other.steps[pos].tensors[name]
            np.testing.assert_array_equal(one, two, err_msg=f"{name} at {pos}")


async def test_unchanged_it_repeats_the_run_bit_for_bit_and_shares_what_came_before(engine: TorchEngine) -> None:
    async with serving(engine) as served, served.client() as client:
        parent = await _run(client)
        n = parent.n_prompt_tokens
        for from_pos in (n + 1, n + 5, n + 11):
            branch = await client.fork_run(parent, from_pos)
            await branch.finished()
            assert branch.branch is not None
            assert branch.branch.n_shared == from_pos - 1
            assert branch.token_ids == parent.token_ids
            assert branch.text == parent.text
            _assert_same_arrays(branch, parent, range(len(parent.tokens) - 1))
        # In the prompt one position is computed alone that was computed among others: the same to rounding.
        branch = await client.fork_run(parent, 3)
        await branch.finished()
        assert branch.token_ids == parent.token_ids
        assert engine.hooks_left() == 0


async def test_under_another_set_it_is_a_fresh_run_with_the_same_log(engine: TorchEngine) -> None:
    async with serving(engine) as served, served.client() as client:
        parent = await _run(client)
        from_pos = parent.n_prompt_tokens + 3
        cut = [ablate("L18.attn", "L20.mlp")]
        branch = await client.fork_run(parent, from_pos, interventions=cut)
        await branch.finished()
        assert branch.token_ids[:from_pos] == parent.token_ids[:from_pos]
        assert branch.token_ids != parent.token_ids, "such a set changes the text"
        fresh = await _run(client, intervention_log=[InterventionSegment(from_pos - 1, cut)])
        assert fresh.token_ids == branch.token_ids
        _assert_same_arrays(branch, fresh, range(len(fresh.tokens) - 1))


async def test_a_word_put_in_is_what_the_model_goes_on_from(engine: TorchEngine) -> None:
    async with serving(engine) as served, served.client() as client:
        parent = await _run(client)
        john = next(pos for pos, token in enumerate(parent.tokens) if token.text == " John")
        branch = await client.fork_run(parent, john, token_text=" Tom")
        await branch.finished()
        assert [token.text for token in branch.tokens[john - 1 : john + 2]] == [" and", " Tom", " went"]
        assert branch.prompt == PROMPT.replace("and John", "and Tom")
        whole = await client.start_run(branch.prompt, channels=[], sampling=SAMPLED)
        await whole.finished()
        assert whole.token_ids == branch.token_ids
