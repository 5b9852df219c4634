"""Two runs side by side, asked with the Python client over a real websocket."""

from __future__ import annotations

import pytest
from tests.integration.serving import PROMPT, serving

from livelens.client import LivelensError, ablate

OTHER = PROMPT.replace("John gave", "Mary gave")


async def test_a_run_beside_another_prompts_and_beside_itself_without_its_ablation() -> None:
    """Shapes and names over the wire; the run's own ablation holds in both, unless the other is to be without."""
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=[], start_paused=True)
        info, last = client.model_info, run.n_prompt_tokens - 1
        seen: list[tuple[int, int]] = []
        found = await client.comparison(run, OTHER, pos=last, progress=lambda *at: seen.append(at))
        assert seen[-1][0] == seen[-1][1]
        assert found.difference["neurons"].shape == (info.n_layers, info.d_mlp)
        assert found.difference["attention"].shape == (info.n_layers, info.n_heads, last + 1)
        assert found.other["residual"].shape == (info.n_layers + 1,)
        assert [found.other_tokens[pos].strip() for pos in found.differing] == ["Mary"]
        assert found.difference["heads"].any()
        head = (1, 0)
        await client.set_interventions(run, [ablate("L1H0")], mode="recompute")
        both = await client.comparison(run, OTHER, pos=last)
        assert both.difference["heads"][head] == both.other["heads"][head] == 0
        clean = await client.comparison(run, pos=last, without_interventions=True)
        assert clean.differing == []
        assert clean.first_difference == 0
        assert clean.difference["heads"][head] == -clean.other["heads"][head] < 0


async def test_a_position_that_the_other_text_has_not_is_one_clear_sentence() -> None:
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=[], start_paused=True)
        with pytest.raises(LivelensError, match=r"the other text has \d+ tokens: positions 0 to"):
            await client.comparison(run, "When Mary", pos=run.n_prompt_tokens - 1)
        with pytest.raises(LivelensError, match="position 900 does not exist"):
            await client.comparison(run, OTHER, pos=900)
