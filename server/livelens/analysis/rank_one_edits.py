"""A rank-1 edit of a weight matrix, made from a prompt and a wanted word, and what it does there and elsewhere.

ROME: Meng, Bau, Andonian and Belinkov 2022, "Locating and Editing Factual Associations in GPT". What differs here:
the weights are never written (`model/operations.py`, RankOne), the covariance is of a few hundred tokens and a ridge
instead of a hundred thousand of Wikipedia, and the same is done to W_O.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import msgspec
import torch
from torch import Tensor

from livelens.analysis.edit_key import KeyDirection, scaled_key
from livelens.analysis.edit_plan import MAX_TEXT_TOKENS, EditPlan, edit_plan, tokenized
from livelens.analysis.edit_texts import COVARIANCE_TEXTS, SPILLOVER_PROMPTS
from livelens.analysis.edit_value import EDIT_PIECE_SECS, Fitted, fitted_value
from livelens.analysis.pacing import Pacing
from livelens.analysis.progress import Work, as_progress
from livelens.analysis.words import labelled
from livelens.model.caches import new_cache
from livelens.model.capture import CaptureSite
from livelens.model.edits import Segment
from livelens.model.engine import AnalysisContext, AnalysisRefusedError
from livelens.model.frozen import MaskSegment
from livelens.model.in_turns import in_turns
from livelens.model.interventions import InterventionMasks
from livelens.model.operations import EVERYWHERE, MATRIX_SITES, Operation, Place, RankOne
from livelens.model.replay import ModelParts, replay
from livelens.model.threads import narrow_on_few
from livelens.protocol.messages import (
    AnalysisProgress,
    RankOneEditReady,
    RankOneRecipe,
    RequestRankOneEdit,
    Spillover,
    TopToken,
)
from livelens.protocol.rank_one_edits import rank_one_edit_info
from livelens.protocol.tensors import encode_tensor

_TOP_TOKENS = 5
_FEW_TOKENS = 32  # that one core computes about as fast as two
MAX_KEPT_KEYS = 8
# What enters a matrix in the server's own texts, float32 [n, d_in], by site and layer: those used last.
KeptKeys = OrderedDict[Place, Tensor]
_Progress = Generator[AnalysisProgress, None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Passed:
    """One text's forward pass: normed [n, d_model] at its end, and what was captured of one layer [n, width]."""

    normed: Tensor
    captured: dict[CaptureSite, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keyed:
    """What enters the matrix at the subject (the mean, and in the prompt alone) [d_in], and what it writes there."""

    mean: Tensor
    plain: Tensor
    written: Tensor
    normed: Tensor


def make_rank_one_edit(
    question: RequestRankOneEdit, context: AnalysisContext, parts: ModelParts, kept_keys: KeptKeys
) -> Iterator[AnalysisProgress | RankOneEditReady]:
    """Progress, then the edit. Everything on the model with no intervention in force.

    kept_keys: filled here, so that the next edit of the same matrix is made sooner.
    Raises AnalysisRefusedError for what cannot be made, EngineError when something cannot be computed.
    """
    began, recipe = time.perf_counter(), question.recipe
    plan = edit_plan(recipe, context, parts)
    texts = _covariance_ids(recipe, plan, parts)
    prompts = [(text, tokenized(text, parts)) for text in recipe.spillover_prompts or SPILLOVER_PROMPTS]
    site = MATRIX_SITES[recipe.matrix]
    work = Work(question, total=recipe.n_steps * (len(plan.rows) + (plan.essence is not None)))
    forwards = [*(row.token_ids for row in plan.rows), *texts, *2 * [ids for _, ids in prompts]]
    work.expect(len(forwards) + len(prompts))
    keyed = yield from _keyed(recipe, plan, parts, work)
    key = yield from _key(recipe, keyed, texts, parts, work, kept_keys)
    essence = None
    if plan.essence is not None:
        passed = yield from _passed(plan.essence.token_ids, (), parts, work)
        essence = _logits(parts, passed.normed[-1:])[0]
    output_norm = float(keyed.written.norm())
    fitted = yield from fitted_value(
        parts, recipe, plan, (site, recipe.layer), output_norm=output_norm, essence_logits=essence, work=work
    )
    before = _logits(parts, keyed.normed[plan.rows[0].first :])
    segments = _in_force((site, recipe.layer), key, fitted)
    after_pass = yield from _passed(plan.rows[0].token_ids, segments, parts, work)
    after = _logits(parts, after_pass.normed[plan.rows[0].first :])
    spillover: list[Spillover] = []
    for text, ids in prompts:
        clean = yield from _passed(ids, (), parts, work)
        edited = yield from _passed(ids, segments, parts, work)
        rows = _logits(parts, torch.stack([clean.normed[-1], edited.normed[-1]]))
        yield work.step()
        spillover.append(_spilled(text, rows, plan.wanted_ids[0], parts))
    kept = _kept_recipe(recipe, plan, parts)
    try:
        info = rank_one_edit_info(
            key.numpy(), fitted.value.cpu().numpy(), name=question.name or _name(kept, plan, parts), recipe=kept
        )
    except ValueError as error:
        raise AnalysisRefusedError("bad_edit", str(error)) from error
    wanted = torch.tensor(plan.wanted_ids)
    probs = [rows.softmax(-1)[torch.arange(len(wanted)), wanted].double() for rows in (before, after)]
    yield RankOneEditReady(
        request_id=question.request_id,
        run_id=question.run_id,
        edit=info,
        key=encode_tensor(key.numpy()),
        value=encode_tensor(fitted.value.cpu().numpy()),
        tokens=[parts.tokens.token_text(token_id) for token_id in plan.prompt_ids],
        key_pos=plan.rows[0].key_pos,
        wanted_tokens=labelled(parts, wanted, probs[0]),
        prob_before=float(probs[0].prod()),
        prob_after=float(probs[1].prod()),
        top_before=_top(before[0], parts),
        top_after=_top(after[0], parts),
        losses=encode_tensor(torch.tensor(fitted.losses).numpy()),
        output_norm=output_norm,
        n_covariance_tokens=sum(len(ids) for ids in texts),
        spillover=spillover,
        notice=plan.notice,
        secs=time.perf_counter() - began,
    )


def _passed(
    token_ids: Sequence[int],
    segments: Sequence[Segment],
    parts: ModelParts,
    work: Work,
    *,
    sites: frozenset[CaptureSite] = frozenset(),
    layer: int = 0,
) -> Generator[AnalysisProgress, None, _Passed]:
    """A text computed, a piece at a time, and what it left at these sites of one layer."""
    pieces = in_turns(partial(_pass, parts, token_ids, segments, sites, layer))
    passed = yield from as_progress(pieces, work, is_counted=False)
    yield work.step()
    return passed


def _pass(
    parts: ModelParts,
    token_ids: Sequence[int],
    segments: Sequence[Segment],
    sites: frozenset[CaptureSite],
    layer: int,
    between: Callable[[], None],
) -> _Passed:
    normed: list[Tensor] = []
    found: dict[CaptureSite, list[Tensor]] = {site: [] for site in sites}
    pacing = Pacing(between, piece_secs=EDIT_PIECE_SECS)
    with narrow_on_few() if len(token_ids) <= _FEW_TOKENS else nullcontext():
        for piece in replay(parts, token_ids, segments, cache=new_cache(), sites=sites, pacing=pacing):
            normed.append(piece.normed[0].clone())
            for site, rows in found.items():
                captured = piece.tensors[site][layer]
                if captured is None:
                    raise RuntimeError(f"{site} of layer {layer} was not captured")
                rows.append(captured[0].float().cpu())
            pacing.stop()
    return _Passed(normed=torch.cat(normed), captured={site: torch.cat(rows) for site, rows in found.items()})


def _into(recipe: RankOneRecipe) -> CaptureSite:
    return "neurons" if recipe.matrix == "mlp_out" else "z"


def _own_head(recipe: RankOneRecipe, read: Tensor, parts: ModelParts) -> Tensor:
    """`read` [..., d_in], zero but for the head whose rows of the matrix are edited."""
    if recipe.head_index is None:
        return read
    d_head = parts.anatomy.shape.d_head
    own = torch.zeros_like(read)
    columns = slice(recipe.head_index * d_head, (recipe.head_index + 1) * d_head)
    own[..., columns] = read[..., columns]
    return own


def _keyed(
    recipe: RankOneRecipe, plan: EditPlan, parts: ModelParts, work: Work
) -> Generator[AnalysisProgress, None, _Keyed]:
    into, site = _into(recipe), MATRIX_SITES[recipe.matrix]
    keys: list[Tensor] = []
    first: _Passed | None = None
    for row in plan.rows:
        passed = yield from _passed(
            row.token_ids, (), parts, work, sites=frozenset((into, site)), layer=recipe.layer
        )  # fmt: skip
        keys.append(_own_head(recipe, passed.captured[into][row.key_pos], parts).double())
        first = passed if first is None else first
    if first is None:
        raise RuntimeError("an edit has at least its prompt")
    written = first.captured[site][plan.rows[0].key_pos]
    return _Keyed(mean=torch.stack(keys).mean(0), plain=keys[0], written=written, normed=first.normed)


def _key(
    recipe: RankOneRecipe, keyed: _Keyed, texts: list[list[int]], parts: ModelParts, work: Work, kept: KeptKeys
) -> Generator[AnalysisProgress, None, Tensor]:
    """[d_in] float32: the key's direction, at its length."""
    if not texts:
        return scaled_key(keyed.mean, keyed.plain)
    place: Place = (MATRIX_SITES[recipe.matrix], recipe.layer)
    seen = kept.pop(place, None) if recipe.covariance == "built_in" else None
    if seen is None:
        found: list[Tensor] = []
        for ids in texts:
            passed = yield from _passed(ids, (), parts, work, sites=frozenset((_into(recipe),)), layer=recipe.layer)
            found.append(passed.captured[_into(recipe)])
        seen = torch.cat(found)
    if recipe.covariance == "built_in":
        kept[place] = seen
        while len(kept) > MAX_KEPT_KEYS:
            kept.popitem(last=False)
    direction = KeyDirection(_own_head(recipe, seen, parts), ridge=recipe.ridge)
    work.expect(direction.n_pieces + 1)
    for _ in direction.prepare():
        yield work.step()
    if not float(keyed.mean.norm()) > 0:
        return scaled_key(keyed.mean, keyed.plain)  # refused there
    solved = direction.solve(keyed.mean)
    yield work.step()
    return scaled_key(_own_head(recipe, solved, parts), keyed.plain)


def _covariance_ids(recipe: RankOneRecipe, plan: EditPlan, parts: ModelParts) -> list[list[int]]:
    """The texts whose keys C is made of; none for the identity."""
    if recipe.covariance == "none":
        return []
    if recipe.covariance == "prompt":
        return [plan.prompt_ids]
    texts = [tokenized(text, parts) for text in recipe.covariance_texts or COVARIANCE_TEXTS]
    n_tokens = sum(len(ids) for ids in texts)
    if n_tokens > MAX_TEXT_TOKENS:
        if recipe.covariance_texts:
            raise AnalysisRefusedError(
                "prompt_too_long",
                f"the covariance's texts have {n_tokens} tokens, and at most {MAX_TEXT_TOKENS} are taken",
            )
        texts = texts[: max(1, len(texts) * MAX_TEXT_TOKENS // (n_tokens + 1))]
    return texts


def _in_force(place: Place, key: Tensor, fitted: Fitted) -> list[MaskSegment]:
    change = RankOne(key.numpy(), fitted.value.cpu().numpy(), 1.0)
    return [MaskSegment(from_pos=0, masks=InterventionMasks(operations=[Operation(place, EVERYWHERE, change)]))]


@torch.inference_mode()
def _logits(parts: ModelParts, normed: Tensor) -> Tensor:
    """float32 [n, d_vocab], on the CPU."""
    with narrow_on_few():
        return parts.readout.logits(normed).float().cpu()


def _top(logits: Tensor, parts: ModelParts, n_tokens: int = _TOP_TOKENS) -> list[TopToken]:
    best = logits.softmax(-1).topk(min(n_tokens, len(logits)))
    return labelled(parts, best.indices, best.values)


def _spilled(text: str, rows: Tensor, wanted_id: int, parts: ModelParts) -> Spillover:
    """rows [2, d_vocab]: clean and edited logits after a prompt."""
    with narrow_on_few():
        clean, edited = rows.double().log_softmax(-1)
        kl = max(0.0, float((clean.exp() * (clean - edited)).sum()))
    return Spillover(
        prompt=text,
        kl=kl,
        top_before=_top(rows[0], parts, 1)[0],
        top_after=_top(rows[1], parts, 1)[0],
        wanted_before=float(clean[wanted_id].exp()),
        wanted_after=float(edited[wanted_id].exp()),
    )


def _kept_recipe(recipe: RankOneRecipe, plan: EditPlan, parts: ModelParts) -> RankOneRecipe:
    """Complete without the run: its tokens as a text."""
    if recipe.prompt:
        return recipe
    text = "".join(parts.tokens.token_text(token_id) for token_id in plan.prompt_ids)
    return msgspec.structs.replace(recipe, prompt=text, to_pos=None)


def _name(recipe: RankOneRecipe, plan: EditPlan, parts: ModelParts) -> str:
    subject = recipe.subject or parts.tokens.token_text(plan.prompt_ids[plan.rows[0].key_pos])
    wanted = "".join(parts.tokens.token_text(token_id) for token_id in plan.wanted_ids)
    what = f"L{recipe.layer} " + ("W_out" if recipe.matrix == "mlp_out" else "W_O")
    head = "" if recipe.head_index is None else f" of H{recipe.head_index}"
    return f"{subject.strip()} → {wanted.strip()} ({what}{head})"[:120]
