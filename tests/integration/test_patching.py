"""Two prompts, asked with the Python client over a real websocket."""

from __future__ import annotations

import numpy as np
import pytest
from tests.integration.serving import PROMPT, serving

from livelens.client import LivelensError, ablate
from livelens.model.torch_engine import TorchEngine

OTHER = PROMPT.rsplit(" ", 1)[0] + " at"  # the last token alone is another


async def test_a_run_is_put_into_another_prompts_run_under_its_own_ablations(engine: TorchEngine) -> None:
    """Shapes, progress and a refusal over the wire; a head that the run ablates brings nothing back."""
    pair = {"target": " Mary", "distractor": " John"}
    async with serving(engine) as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=[], start_paused=True)
        last = run.n_prompt_tokens - 1
        seen: list[tuple[int, int]] = []
        found = await client.patching(run, OTHER, pos=last, progress=lambda *at: seen.append(at), **pair)
        info = client.model_info
        assert found.first_difference == last
        assert found.clean_tokens[:last] == found.corrupted_tokens[:last]
        assert found.resid_pre.shape == found.mlp_out.shape == (info.n_layers, last + 1)
        assert found.heads_last.shape == found.head_norm_difference.shape == (info.n_layers, info.n_heads)
        assert found.resid_distance.shape == (info.n_layers + 1, last + 1)
        assert found.resid_pre[:, last] == pytest.approx(1, abs=1e-3), "everything that differs is at this token"
        assert (found.resid_pre[:, :last] == 0).all()
        assert found.heads_last == pytest.approx(found.heads_all, abs=1e-3)
        assert seen[-1][0] <= seen[-1][1]
        assert len(seen) > 3
        with pytest.raises(LivelensError, match="tokens and the run's has"):
            await client.patching(run, OTHER + " the old", pos=last, **pair)
        strongest = divmod(int(np.abs(found.heads_last).argmax()), info.n_heads)
        name = f"L{strongest[0]}H{strongest[1]}"
        await client.set_interventions(run, [ablate(name)], mode="recompute")
        ablated = await client.patching(run, OTHER, pos=last, **pair)
        assert abs(found.heads_last[strongest]) > 0.01
        assert ablated.heads_last[strongest] == pytest.approx(0, abs=1e-3)
        assert ablated.metric.value != pytest.approx(found.metric.value, abs=1e-3)
        assert engine.hooks_left() == 0
