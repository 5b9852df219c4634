"""Directions of the residual stream, made: contrasts, what a head or a neuron writes, a token's unembedding, an axis.

A contrast is the difference of means of two lists of prompts (Marks and Tegmark 2023, "The Geometry of Truth";
Rimsky et al. 2023, "Steering Llama 2 via Contrastive Activation Addition"), at the layer that separates best prompts
that had no part in it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from livelens.analysis.progress import Work
from livelens.model.caches import new_cache
from livelens.model.capture import CaptureSite
from livelens.model.edits import Segment
from livelens.model.engine import F32, AnalysisRefusedError
from livelens.model.replay import ModelParts, replay, replay_plan
from livelens.protocol.directions import direction_info
from livelens.protocol.messages import AnalysisProgress, DirectionReady, DirectionRecipe, RequestDirection
from livelens.protocol.tensors import encode_tensor

MAX_CONTRAST_TOKENS = 4096


def make_direction(
    question: RequestDirection, token_ids: Sequence[int], segments: Sequence[Segment], parts: ModelParts
) -> Iterator[AnalysisProgress | DirectionReady]:
    """Progress, then the direction. token_ids, segments: of the run as far as it was computed.

    Raises AnalysisRefusedError for what cannot be made, EngineError when something cannot be computed.
    """
    recipe, work = question.recipe, Work(question, total=1)
    layer, separation, accuracy = recipe.layer, None, None
    match recipe.kind:
        case "contrast":
            streams = yield from _last_streams(recipe, parts, work)
            separation, accuracy = held_out(*streams)
            layer = int(separation.argmax()) if recipe.layer is None else recipe.layer
            vector = streams[0][:, layer].mean(0) - streams[1][:, layer].mean(0)
        case "unembed":
            vector = parts.weights.unembed[_token_id(recipe, parts)].double().cpu()
        case "neuron":
            vector = _through_post_norm(parts, "mlp", recipe, _neuron_row(recipe, parts))
        case "head":
            z = yield from _captured(recipe, token_ids, segments, parts, work)
            vector = _through_post_norm(parts, "attn", recipe, _head_write(recipe, z, parts))
        case _:
            streams_of_run = yield from _captured(recipe, token_ids, segments, parts, work)
            vector = principal_axis(streams_of_run[1:], recipe.index)
    made: F32 = vector.float().numpy()
    try:
        info = direction_info(made, name=question.name or _name(recipe, layer), recipe=recipe, layer=layer)
    except ValueError as error:
        raise AnalysisRefusedError("bad_direction", str(error)) from error
    yield DirectionReady(
        request_id=question.request_id,
        run_id=question.run_id,
        direction=info,
        vector=encode_tensor(made),
        separation=None if separation is None else encode_tensor(separation),
        accuracy=None if accuracy is None else encode_tensor(accuracy),
    )


def held_out(positive: Tensor, negative: Tensor) -> tuple[F32, F32]:
    """Separation and accuracy [n_layers] of prompts held out one at a time; positive, negative [n, n_layers, d_model].

    Each prompt's distance from the midpoint of the others' means, along their difference and towards its own side, in
    halves of that difference: 1 is as far as its own side's mean. Separation is their mean in standard deviations.
    """
    scores: list[Tensor] = []
    for side, other, sign in ((positive, negative, 1.0), (negative, positive, -1.0)):
        other_mean = other.mean(0)
        for at in range(len(side)):
            own_mean = (side.sum(0) - side[at]) / (len(side) - 1)
            away = (own_mean - other_mean) * sign
            from_middle = side[at] - (own_mean + other_mean) / 2
            half = away.square().sum(-1).clamp_min(1e-30) / 2
            scores.append(sign * (from_middle * away).sum(-1) / half)
    each = torch.stack(scores)
    separation = each.mean(0) / each.std(0).clamp_min(1e-6)
    return _numpy(separation), _numpy((each > 0).double().mean(0))


def principal_axis(points: Tensor, index: int) -> Tensor:
    """[d_model]: axis number `index` of points [n, d_model], as long as their standard deviation along it.

    Its largest entry is positive. Raises AnalysisRefusedError where the points have no such axis.
    """
    most = min(len(points) - 1, points.shape[-1])
    if index >= most:
        raise AnalysisRefusedError(
            "position_out_of_range",
            f"the run's stream has {max(most, 0)} axes there, its first position left out: there is no axis {index}",
        )
    _, lengths, axes = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    axis: Tensor = axes[index] * (lengths[index] / (len(points) - 1) ** 0.5)
    return axis if axis[axis.abs().argmax()] > 0 else -axis


def _last_streams(
    recipe: DirectionRecipe, parts: ModelParts, work: Work
) -> Generator[AnalysisProgress, None, tuple[Tensor, Tensor]]:
    """resid_post of every layer at each prompt's last token, float64 [n, n_layers, d_model], of both lists."""
    sides = [[_tokenized(text, parts) for text in texts] for texts in (recipe.positive, recipe.negative)]
    n_tokens = sum(len(ids) for side in sides for ids in side)
    if n_tokens > MAX_CONTRAST_TOKENS:
        raise AnalysisRefusedError(
            "prompt_too_long",
            f"the prompts have {n_tokens} tokens, and at most {MAX_CONTRAST_TOKENS} are taken",
        )
    work.expect(sum(len(replay_plan(parts, ids, ())) for side in sides for ids in side))
    found: list[Tensor] = []
    for side in sides:
        rows: list[Tensor] = []
        for ids in side:
            last: list[Tensor | None] = []
            for piece in replay(parts, ids, (), cache=new_cache()):
                last = piece.tensors["resid"][1:]
                yield work.step()
            rows.append(torch.stack([stream[0, -1].double().cpu() for stream in last if stream is not None]))
        found.append(torch.stack(rows))
    return found[0], found[1]


def _captured(
    recipe: DirectionRecipe, token_ids: Sequence[int], segments: Sequence[Segment], parts: ModelParts, work: Work
) -> Generator[AnalysisProgress, None, Tensor]:
    """Of the run: z or resid_post of the recipe's layer, float64 [n_positions, width]."""
    layer, is_head = recipe.layer or 0, recipe.kind == "head"
    work.expect(len(replay_plan(parts, token_ids, segments)))
    rows: list[Tensor] = []
    sites: frozenset[CaptureSite] = frozenset(("z",)) if is_head else frozenset()
    for piece in replay(parts, token_ids, segments, cache=new_cache(), sites=sites):
        captured = piece.tensors["z"][layer] if is_head else piece.tensors["resid"][layer + 1]
        if captured is None:
            raise RuntimeError(f"layer {layer} was not captured")
        rows.append(captured[0].double().cpu())
        yield work.step()
    return torch.cat(rows)


def _head_write(recipe: DirectionRecipe, z: Tensor, parts: ModelParts) -> Tensor:
    shape = parts.anatomy.shape
    if recipe.pos is not None and recipe.pos >= len(z):
        raise AnalysisRefusedError(
            "position_out_of_range", f"position {recipe.pos} is not computed: this run has positions 0 to {len(z) - 1}"
        )
    columns = slice(recipe.index * shape.d_head, (recipe.index + 1) * shape.d_head)
    own = z[:, columns].mean(0) if recipe.pos is None else z[recipe.pos, columns]
    return own @ parts.weights.head_output[recipe.layer or 0][columns].double().cpu()


def _neuron_row(recipe: DirectionRecipe, parts: ModelParts) -> Tensor:
    if parts.weights.neuron_output is None:
        raise AnalysisRefusedError("no_neurons", "this model's neurons have no single output matrix")
    return parts.weights.neuron_output[recipe.layer or 0][recipe.index].double().cpu()


def _through_post_norm(parts: ModelParts, part: str, recipe: DirectionRecipe, vector: Tensor) -> Tensor:
    """As it reaches the stream, where a norm stands between; the norm's scale changes no direction."""
    norms = parts.weights.attention_post_norms if part == "attn" else parts.weights.mlp_post_norms
    if norms is None:
        return vector
    centred = vector - vector.mean() if norms.is_centred else vector
    gained: Tensor = centred * norms.gain[recipe.layer or 0].double().cpu()
    return gained


def _token_id(recipe: DirectionRecipe, parts: ModelParts) -> int:
    token, d_vocab = recipe.token, parts.anatomy.shape.d_vocab
    if isinstance(token, str):
        ids = parts.tokens.token_ids(token)
        if len(ids) != 1:
            raise AnalysisRefusedError(
                "bad_target", f"{token!r} is {len(ids)} tokens in this model: name one (a leading space matters)"
            )
        return ids[0]
    if token is None or token >= d_vocab:
        raise AnalysisRefusedError("bad_target", f"token ids of this model are 0 to {d_vocab - 1}")
    return token


def _tokenized(text: str, parts: ModelParts) -> list[int]:
    ids = parts.tokens.tokenize(text, apply_chat_template=False)
    if not ids:
        raise AnalysisRefusedError("empty_prompt", "a prompt of the contrast has no tokens: write something")
    return ids


def _name(recipe: DirectionRecipe, layer: int | None) -> str:
    match recipe.kind:
        case "contrast":
            return f"contrast after layer {layer}"
        case "unembed":
            return f"unembedding of {recipe.token!r}"
        case "neuron":
            return f"L{recipe.layer}N{recipe.index}"
        case "head":
            return f"L{recipe.layer}H{recipe.index}" + ("" if recipe.pos is None else f"@{recipe.pos}")
        case _:
            return f"axis {recipe.index} after layer {layer}"


def _numpy(tensor: Tensor) -> F32:
    return np.ascontiguousarray(tensor.float().numpy())
