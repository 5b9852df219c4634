"""The residual stream's way through the layers, seen along the three axes in which it varies most in this run.

Every token's stream, before layer 0 and after each layer, is one point. The points of all layers and tokens
together give mean and axes (principal component analysis), so that the paths of all tokens share one space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from livelens.analysis.norms import NormWeights
from livelens.analysis.principal_axes import Axes, Moments
from livelens.analysis.progress import Work
from livelens.analysis.words import logits_written, words_of
from livelens.model.caches import new_cache
from livelens.model.capture import stack
from livelens.model.edits import Segment
from livelens.model.engine import AnalysisRefusedError
from livelens.model.replay import ModelParts, replay, replay_plan
from livelens.protocol.messages import AnalysisProgress, RequestStreamPca, StreamPcaReady, StreamScaling, TopToken
from livelens.protocol.tensors import encode_tensor

MAX_POSITIONS = 2048
N_AXES, N_WORDS = 3, 5
_STREAM_BYTES = 2**30


def stream_pca(
    question: RequestStreamPca, token_ids: Sequence[int], segments: Sequence[Segment], parts: ModelParts
) -> Iterator[AnalysisProgress | StreamPcaReady]:
    """Progress, then the paths of all tokens.

    Raises AnalysisRefusedError for a run that is too long or of which nothing is left to make axes of,
    EngineError when it cannot be computed.
    """
    skip_first = _check(question, len(token_ids), parts)
    work = Work(question, total=len(replay_plan(parts, token_ids, segments)))
    streams: list[Tensor] = []
    moments = Moments(parts.anatomy.shape.d_model, device=_float64_device(parts))
    for piece in replay(parts, token_ids, segments, cache=new_cache()):
        with torch.inference_mode():
            points = scaled(stack(piece.tensors["resid"], lambda stream: stream[0]), question.scaling, parts)
            streams.append(points.transpose(0, 1).contiguous().to(moments.device))
            moments.add(streams[-1][max(0, skip_first - piece.start) :].flatten(0, 1))
        yield work.step()
    with torch.inference_mode():
        axes = moments.axes(N_AXES)
        coordinates = torch.cat([axes.coordinates(points) for points in streams])
        promoted, suppressed = _words(axes, parts)
    yield StreamPcaReady(
        request_id=question.request_id,
        run_id=question.run_id,
        scaling=question.scaling,
        skip_first=skip_first,
        coordinates=encode_tensor(_padded(coordinates).cpu().numpy()),
        explained=encode_tensor(_padded(axes.explained).float().cpu().numpy()),
        promoted=promoted,
        suppressed=suppressed,
    )


def scaled(streams: Tensor, scaling: StreamScaling, parts: ModelParts) -> Tensor:
    """Streams [..., d_model], float32; by `rms` as the model's norms leave them, gain and bias apart."""
    if scaling == "none":
        return streams
    norm = parts.weights.final_norm
    bare = NormWeights(gain=torch.ones_like(norm.gain), bias=None, is_centred=norm.is_centred, eps=norm.eps)
    return bare.apply(streams)


def _check(question: RequestStreamPca, n: int, parts: ModelParts) -> int:
    """How many positions the axes leave out."""
    shape = parts.anatomy.shape
    most = min(MAX_POSITIONS, _STREAM_BYTES // (4 * shape.d_model * (shape.n_layers + 1)))
    if n > most:
        raise AnalysisRefusedError(
            "run_too_long", f"the stream's paths are shown for at most {most} tokens of this model, the run has {n}"
        )
    if question.skip_first >= n:
        raise AnalysisRefusedError(
            "position_out_of_range", f"the axes cannot leave out {question.skip_first} positions: the run has {n}"
        )
    return question.skip_first


def _float64_device(parts: ModelParts) -> torch.device:
    device = parts.model.device
    return torch.device("cpu") if device.type == "mps" else device  # which has no float64


def _padded(values: Tensor) -> Tensor:
    """[..., 3] where a model has fewer dimensions than the picture."""
    return torch.nn.functional.pad(values, (0, N_AXES - values.shape[-1]))


def _words(axes: Axes, parts: ModelParts) -> tuple[list[list[TopToken]], list[list[TopToken]]]:
    norm = parts.weights.final_norm
    rows = axes.axes.float().to(norm.gain.device)
    centred = rows - rows.mean(-1, keepdim=True) if norm.is_centred else rows
    words = [words_of(parts, row, n_tokens=N_WORDS) for row in logits_written(parts, centred * norm.gain)]
    return [each.promoted for each in words], [each.suppressed for each in words]
