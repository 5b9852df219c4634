"""Driving an engine as a run does, and holding what it shows against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from tests.model.reference import Edit, Full, Reference

from livelens.model.engine import Captured, Engine, LogitPair, Prediction, StepArrays
from livelens.model.interventions import InterventionMasks, masks_from
from livelens.protocol.messages import CHANNELS, Channel, Component, InterventionSpec, ModelInfo

ALL: frozenset[Channel] = frozenset(CHANNELS)
NO_PAIR = LogitPair()


@dataclass
class Driven:
    """One greedy run: the tokens, and by position what was shown and predicted."""

    tokens: list[int]
    arrays: dict[int, StepArrays] = field(default_factory=dict)
    predictions: dict[int, Prediction] = field(default_factory=dict)
    logits: dict[int, np.ndarray] = field(default_factory=dict)


def masks_at(edits: Sequence[Edit], position: int, info: ModelInfo) -> InterventionMasks | None:
    """The masks of the edits that hold at `position`, made the way a run makes them."""
    specs = []
    for number, edit in enumerate(edits):
        if not edit.start <= position < edit.stop:
            continue
        groups = [
            (Component(kind="head", layer=layer, index=index), factor) for (layer, index), factor in edit.heads.items()
        ]
        groups += [
            (Component(kind="neuron", layer=layer, index=index), factor)
            for (layer, index), factor in edit.neurons.items()
        ]
        groups += [(Component(kind="attn", layer=layer), factor) for layer, factor in edit.attn.items()]
        groups += [(Component(kind="mlp", layer=layer), factor) for layer, factor in edit.mlp.items()]
        specs += [
            InterventionSpec(
                intervention_id=f"{number}.{i}",
                operation="zero" if factor == 0 else "scale",
                components=[component],
                amount=factor,
            )
            for i, (component, factor) in enumerate(groups)
        ]
    return masks_from(specs, info) if specs else None


def drive(
    engine: Engine,
    prompt: Sequence[int],
    n_new: int,
    *,
    edits: Sequence[Edit] = (),
    channels: frozenset[Channel] = ALL,
    pair: LogitPair = NO_PAIR,
    read_prompt: bool = True,
) -> Driven:
    """Greedy generation through the engine: prefill in pieces of equal masks, then token by token."""
    sequence, driven = engine.open_sequence(), Driven(tokens=list(prompt))
    starts = sorted({0, *(e.start for e in edits), *(e.stop for e in edits)})
    pieces = [start for start in starts if start < len(prompt)] + [len(prompt)]
    for start, stop in pairwise(pieces):
        captured = sequence.forward(prompt[start:stop], masks=masks_at(edits, start, engine.info), channels=channels)
        if stop == len(prompt):
            driven.tokens.append(int(captured.logits.argmax()))
        for index in reversed(range(stop - start)):  # any order must do
            if read_prompt or start + index == len(prompt) - 1:
                _read(driven, captured, index, start + index, channels, pair)
    while len(driven.tokens) < len(prompt) + n_new:
        position = sequence.n_positions
        captured = sequence.forward(
            [driven.tokens[position]], masks=masks_at(edits, position, engine.info), channels=channels
        )
        driven.tokens.append(int(captured.logits.argmax()))
        _read(driven, captured, 0, position, channels, pair)
    sequence.close()
    return driven


def _read(
    driven: Driven, captured: Captured, index: int, position: int, channels: frozenset[Channel], pair: LogitPair
) -> None:
    chosen = driven.tokens[position + 1]
    driven.arrays[position] = captured.arrays(index, channels=channels, chosen_id=chosen, pair=pair)
    driven.predictions[position] = captured.prediction(index, chosen_id=chosen, top_k=5)
    if index == captured.n_positions - 1:
        driven.logits[position] = captured.logits


# ---------------------------------------------------------------------- comparing


def close(ours: np.ndarray, theirs: torch.Tensor, *, relative: float, what: str) -> None:
    """Within `relative` of the largest magnitude of the reference."""
    expected = theirs.detach().double().numpy()
    assert ours.shape == expected.shape, f"{what}: shape {ours.shape}, not {expected.shape}"
    scale = max(float(np.abs(expected).max()), 1e-6)
    worst = float(np.abs(ours - expected).max()) / scale
    assert worst <= relative, f"{what}: off by {worst:.2e} of {scale:.3g}"


def assert_position_equals(
    driven: Driven,
    reference: Reference,
    full: Full,
    position: int,
    *,
    edits: Sequence[Edit] = (),
    pair: LogitPair = NO_PAIR,
    tolerance: float = 2e-4,
    term_by_term: bool = True,
    lens: bool = True,
) -> None:
    """Every channel of one position equals the reference's full forward.

    term_by_term: direct_logit's heads, MLPs and neurons too, else only its sum (the terms take long).
    lens: every layer's lens too (so does it).
    """
    ours, chosen, where = driven.arrays[position], driven.tokens[position + 1], f"position {position}"
    for layer, row in enumerate(ours.neurons):
        close(row, full.neurons[layer][position], relative=tolerance, what=f"{where} layer {layer} neurons")
    close(ours.heads, reference.head_writes(full, position).norm(dim=-1), relative=tolerance, what=f"{where} heads")
    pattern = torch.stack([p[:, position, : position + 1] for p in full.pattern])
    close(ours.attention, pattern, relative=tolerance, what=f"{where} attention")
    for name, streams in (("residual", full.resid), ("attn_out", full.attn_out), ("mlp_out", full.mlp_out)):
        norms = torch.stack([stream[position].norm() for stream in streams])
        close(getattr(ours, name), norms, relative=tolerance, what=f"{where} {name}")
    if lens:
        _assert_lens(ours, reference.lens_logits(full, position), chosen, where)
    _assert_direct_sum(ours, reference, full, position, chosen, pair)
    if term_by_term:
        _assert_direct_terms(ours, reference, full, position, chosen, edits, pair, tolerance)
    _assert_prediction(driven, full, position, chosen, tolerance)


def _assert_lens(ours: StepArrays, logits: torch.Tensor, chosen: int, where: str) -> None:
    logprobs = logits.log_softmax(-1)
    probs = logprobs.exp()
    for layer, row in enumerate(logits):
        best = float(row.max())
        tie = 1e-3 * max(1.0, abs(best))
        assert best - float(row[int(ours.lens.token_id[layer])]) <= tie, f"{where} layer {layer} lens top token"
        above, near = int((row > row[chosen] + tie).sum()), int((row >= row[chosen] - tie).sum())
        assert above <= int(ours.lens.rank[layer]) <= near, f"{where} layer {layer} lens rank"
    entropy = -(probs * logprobs).sum(-1)
    close(ours.lens.prob, probs.amax(-1), relative=1e-2, what=f"{where} lens prob")
    close(ours.lens.entropy, entropy, relative=1e-3, what=f"{where} lens entropy")
    close(ours.lens.logprob, logprobs[:, chosen], relative=1e-3, what=f"{where} lens logprob")


def _assert_direct_sum(
    ours: StepArrays, reference: Reference, full: Full, position: int, chosen: int, pair: LogitPair
) -> None:
    where, direct = f"position {position} direct_logit", ours.direct
    target = chosen if pair.target_id is None else pair.target_id
    total = reference.metric(full, position, target, pair.distractor_id)
    parts = [direct.heads.ravel(), direct.mlps, direct.attn_bias, [direct.embed, direct.final_bias]]
    added = float(np.concatenate(parts).sum(dtype=np.float64))
    for name, value in (("sum", added), ("total", direct.total)):
        assert abs(value - total) <= 1e-3 * max(0.1, abs(total)), f"{where}: {name} {value} is not {total}"


def _assert_direct_terms(
    ours: StepArrays,
    reference: Reference,
    full: Full,
    position: int,
    chosen: int,
    edits: Sequence[Edit],
    pair: LogitPair,
    tolerance: float,
) -> None:
    where, direct = f"position {position} direct_logit", ours.direct
    target = chosen if pair.target_id is None else pair.target_id
    expected = reference.direct(full, position, target, pair.distractor_id, edits)
    close(direct.heads, expected["heads"], relative=10 * tolerance, what=f"{where} heads")
    close(direct.mlps, expected["mlps"], relative=10 * tolerance, what=f"{where} mlps")
    assert abs(direct.embed - float(expected["embed"])) <= 1e-3 * max(1.0, abs(float(expected["embed"])))
    flat = expected["neurons"].abs().flatten()
    k = len(direct.neuron_value)
    assert k == min(64, flat.numel())
    weakest = float(flat.topk(k).values[-1])
    picked = expected["neurons"][direct.neuron_layer, direct.neuron_index]
    close(direct.neuron_value, picked, relative=10 * tolerance, what=f"{where} neurons")
    assert float(picked.abs().min()) >= weakest * (1 - 1e-3) - 1e-6, f"{where}: not the strongest neurons"
    assert len(set(zip(direct.neuron_layer.tolist(), direct.neuron_index.tolist(), strict=True))) == k
    assert bool((np.diff(np.abs(direct.neuron_value)) <= 1e-6).all()), f"{where}: neurons not in order"


def _assert_prediction(driven: Driven, full: Full, position: int, chosen: int, tolerance: float) -> None:
    prediction, logprobs = driven.predictions[position], full.logits[position].log_softmax(-1)
    where = f"position {position} prediction"
    best = logprobs.topk(len(prediction.top_ids)).values
    close(prediction.top_probs, logprobs[torch.from_numpy(prediction.top_ids).long()].exp(), relative=1e-3, what=where)
    close(prediction.top_probs, best.exp(), relative=1e-3, what=f"{where}: not the likeliest tokens")
    assert abs(prediction.logprob - float(logprobs[chosen])) <= 2e-3 * max(1.0, abs(float(logprobs[chosen])))
    entropy = float(-(logprobs.exp() * logprobs).sum())
    assert abs(prediction.entropy - entropy) <= 1e-3 * max(1.0, entropy)
    if position in driven.logits:
        close(driven.logits[position], full.logits[position], relative=tolerance, what=f"{where} logits")


def assert_greedy(driven: Driven, full: Full, n_prompt: int) -> None:
    """Every generated token is the reference's likeliest, or a tie with it."""
    for position in range(n_prompt - 1, len(driven.tokens) - 1):
        row = full.logits[position]
        behind = float(row.max() - row[driven.tokens[position + 1]])
        assert behind <= 1e-4 * max(1.0, float(row.abs().max())), f"token {position + 1} is {behind} behind the best"
