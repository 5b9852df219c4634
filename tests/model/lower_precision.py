"""What holds in any precision: an engine against the plain model's own forward, in that precision, on that device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from tests.model.driving import ALL, Driven, drive

from livelens.model.torch_engine import TorchEngine

# Half precision keeps 8 (bfloat16) or 11 (float16) bits, and errors add up over layers.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 6e-2}


@torch.inference_mode()
def plain_logits(engine: TorchEngine, token_ids: Sequence[int]) -> np.ndarray:
    """[pos, d_vocab] of one full forward of the Hugging Face model itself: no hooks, no cache."""
    ids = torch.tensor([list(token_ids)], device=engine.model.device)
    return engine.model(input_ids=ids, use_cache=False).logits[0].float().cpu().numpy()


def assert_watched_run_is_the_models_own(engine: TorchEngine, prompt: Sequence[int], n_new: int) -> Driven:
    """Greedy tokens, logits, lens and direct_logit of a watched run agree with plain forward calls."""
    driven = drive(engine, prompt, n_new, channels=ALL)
    tolerance = TOLERANCE[engine.model.dtype]
    rows = plain_logits(engine, driven.tokens[:-1])
    for pos, row in enumerate(rows):
        scale = float(np.abs(row).max())
        chosen, arrays = driven.tokens[pos + 1], driven.arrays[pos]
        if pos >= len(prompt) - 1:
            assert row.max() - row[chosen] <= tolerance * scale, f"token {pos + 1} is not the likeliest"
            assert np.abs(driven.logits[pos] - row).max() <= tolerance * scale, f"logits after {pos}"
        assert arrays.lens.logprob[-1] == driven.predictions[pos].logprob  # the last layer's lens is the output
        parts = [arrays.direct.heads.ravel(), arrays.direct.mlps, arrays.direct.attn_bias]
        added = float(np.concatenate(parts).sum(dtype=np.float64)) + arrays.direct.embed + arrays.direct.final_bias
        assert abs(added - arrays.direct.total) <= tolerance * max(1.0, float(np.abs(np.concatenate(parts)).max()))
        assert np.isfinite(arrays.neurons).all() and np.isfinite(arrays.attention).all()
        assert np.abs(arrays.attention.sum(-1) - 1).max() <= tolerance
    return driven
