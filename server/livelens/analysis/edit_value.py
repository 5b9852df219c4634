"""The value of a rank-1 edit: what, added to what a matrix writes at the subject, makes the wanted word likely.

Gradient steps with Adam as in ROME (Meng et al. 2022, section 3.1 and appendix E.5), on one vector [d_model]; the
network's weights have no gradients and stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from livelens.analysis.attribution import gradients
from livelens.analysis.edit_plan import EditPlan, EditRow
from livelens.analysis.pacing import Pacing
from livelens.analysis.progress import Work, as_progress
from livelens.model.capture import ForwardHooks
from livelens.model.edits import SiteEdits
from livelens.model.engine import AnalysisRefusedError
from livelens.model.freeze_hooks import StopHooks
from livelens.model.in_turns import in_turns
from livelens.model.operations import Place
from livelens.model.replay import ModelParts
from livelens.model.threads import narrow_on_few
from livelens.protocol.messages import AnalysisProgress, RankOneRecipe

_GOOD_LOSS = 0.05
# A turn between two tokens of a run takes the pieces that begin within 0.1 s: with two of these it is over in 0.17 s.
EDIT_PIECE_SECS = 0.08

# From the logits [n, d_vocab] that count in a row to the loss.
_Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """value [d_model] float32, and the loss before each step that was taken."""

    value: Tensor
    losses: list[float]


@dataclass(frozen=True, slots=True)
class _AddedAt:
    """`value` [d_model] added to what a matrix writes at one position; what goes into it beside it stays."""

    value: Tensor
    pos: int

    def __call__(self, out_and_in: Tensor) -> Tensor:
        added = torch.zeros_like(out_and_in)
        added[:, self.pos, : len(self.value)] = self.value.to(added.dtype)
        return out_and_in + added


def fitted_value(
    parts: ModelParts,
    recipe: RankOneRecipe,
    plan: EditPlan,
    place: Place,
    *,
    output_norm: float,
    essence_logits: Tensor | None,
    work: Work,
) -> Generator[AnalysisProgress, None, Fitted]:
    """The value, a bounded piece at a time: forward and backward passes stop between layers.

    output_norm: of what the matrix writes at the subject. essence_logits [d_vocab]: clean, after the essence prompt.
    Raises AnalysisRefusedError when the loss is no number any more.
    """
    value = torch.zeros(parts.anatomy.shape.d_model, device=parts.model.device)
    adam = torch.optim.Adam([value], lr=recipe.learning_rate)
    wanted = torch.tensor(plan.wanted_ids, device=parts.model.device)
    terms: list[tuple[EditRow, float, _Loss]] = [
        (row, 1 / len(plan.rows), lambda logits: _surprise(logits, wanted)) for row in plan.rows
    ]
    if plan.essence is not None and essence_logits is not None and recipe.kl_factor:
        clean = essence_logits.float().log_softmax(-1)
        terms.append((plan.essence, recipe.kl_factor, lambda logits: _divergence(clean, logits[0])))
    losses: list[float] = []
    for _ in range(recipe.n_steps):
        loss, gradient = _decay(value, recipe.weight_decay / max(output_norm**2, 1e-12))
        for row, factor, loss_of in terms:
            pieces = in_turns(partial(_gradient, parts, place, row, value, loss_of))
            of_row, along = yield from as_progress(pieces, work, is_counted=False)
            loss, gradient = loss + factor * of_row, gradient + factor * along
            yield work.step()
        if not (torch.isfinite(gradient).all() and math.isfinite(loss)):
            raise AnalysisRefusedError(
                "bad_edit", "the loss became NaN or infinite while the value was fitted: lower the learning rate"
            )
        losses.append(loss)
        if loss < _GOOD_LOSS:
            break
        value.grad = gradient
        adam.step()
        longest = recipe.clamp * output_norm
        if float(value.norm()) > longest:
            value *= longest / value.norm()
    return Fitted(value=value, losses=losses)


def _surprise(logits: Tensor, wanted: Tensor) -> Tensor:
    return -logits.log_softmax(-1).gather(-1, wanted[:, None]).mean()


def _divergence(clean: Tensor, logits: Tensor) -> Tensor:
    return (clean.exp() * (clean - logits.log_softmax(-1))).sum()


def _decay(value: Tensor, factor: float) -> tuple[float, Tensor]:
    """`factor` times the value's length, and its gradient; zero where there is no value."""
    length = float(value.norm())
    return factor * length, value * (factor / length if length else 0.0)


def _gradient(
    parts: ModelParts, place: Place, row: EditRow, value: Tensor, loss_of: _Loss, between: Callable[[], None]
) -> tuple[float, Tensor]:
    """A row's loss, and its gradient at the value [d_model], a layer at a time from the last."""
    leaf = value.clone().requires_grad_()
    with narrow_on_few(), torch.enable_grad():
        return _loss_and_gradient(parts, place, row, leaf, loss_of, Pacing(between, piece_secs=EDIT_PIECE_SECS))


def _loss_and_gradient(
    parts: ModelParts, place: Place, row: EditRow, leaf: Tensor, loss_of: _Loss, pacing: Pacing
) -> tuple[float, Tensor]:
    edits = SiteEdits(edits={place: _AddedAt(leaf, row.key_pos)})
    ids = torch.tensor([row.token_ids], device=parts.model.device)
    with ExitStack() as stack:
        hooks = stack.enter_context(ForwardHooks(parts.anatomy, edits=edits, sites=frozenset(("resid",))))
        stack.enter_context(StopHooks(parts.anatomy, (hooks,), pacing))
        normed = parts.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        hooks.written.clear()
    loss = loss_of(_logits(parts, normed[0, row.first :]))
    streams = [stream for stream in hooks.tensors["resid"][place[1] + 1 :] if stream is not None]
    pacing.stop()
    given = gradients([loss], [None], streams[-1:], keep_graph=False)[0]
    for before, after in reversed(list(pairwise([leaf, *streams]))):
        pacing.stop()
        given = gradients([after], [given], [before], keep_graph=False)[0]
    return float(loss.detach()), given


def _logits(parts: ModelParts, normed: Tensor) -> Tensor:
    """As `Readout.logits`, with gradients: float32 [n, d_vocab]."""
    raw = parts.anatomy.unembed(normed).float() * parts.readout.logit_scale
    cap = parts.anatomy.shape.soft_cap
    return raw if cap is None else torch.tanh(raw / cap) * cap
