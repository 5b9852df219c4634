"""What one neuron does: what it promotes, what drives it, where in this run it is loud, who is like it.

Promoted and suppressed tokens are W_out @ W_U through the final norm's gain (Geva et al. 2022, "Transformer
Feed-Forward Layers Build Predictions by Promoting Concepts in the Vocabulary Space"): the direction of the
logits, its size left open because the norm's denominator depends on the text. What drives it is the neuron's
own activation if its MLP read nothing but a token's embedding: `act(x @ W_in + b_in)`, and in a gated MLP
`act(x @ W_gate + b_gate) * (x @ W_in + b_in)`, x the embedding through the norm that the MLP reads through.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from livelens.analysis.progress import Work
from livelens.analysis.words import labelled, logits_written, words_of
from livelens.model.anatomy import bias_of, weight_in_out
from livelens.model.caches import new_cache
from livelens.model.edits import Segment
from livelens.model.engine import AnalysisRefusedError, EngineError
from livelens.model.neuron_contexts import N_CONTEXTS, neuron_context
from livelens.model.part_weights import (
    NeuronWeights,
    embedding,
    mlp_reading_norm,
    neuron_readers,
    neuron_weights,
)
from livelens.model.replay import ModelParts, refuse_unknown, replay, replay_plan
from livelens.protocol.messages import (
    AnalysisProgress,
    Component,
    EdgePart,
    Feeder,
    NeuronContext,
    NeuronProfileReady,
    RequestNeuronProfile,
    TopToken,
)
from livelens.protocol.tensors import encode_tensor

N_WORDS, N_ALIKE, N_BINS = 12, 10, 32
_VOCAB_BLOCK = 8192
_SIDES: tuple[EdgePart, EdgePart] = ("input", "value")


def neuron_profile(
    question: RequestNeuronProfile, token_ids: Sequence[int], segments: Sequence[Segment], parts: ModelParts
) -> Iterator[AnalysisProgress | NeuronProfileReady]:
    """The neuron's profile in this run; the answer comes last.

    Raises AnalysisRefusedError for a neuron that does not exist, EngineError when run or weights cannot be read.
    """
    layer, index = question.layer, question.neuron_index
    neuron = Component(kind="neuron", layer=layer, index=index)
    refuse_unknown(neuron, parts)
    if not token_ids:
        raise AnalysisRefusedError("not_computed", "the run has no tokens yet: start it first")
    shape = parts.anatomy.shape
    n_blocks = -(-shape.d_vocab // _VOCAB_BLOCK)
    work = Work(question, total=len(replay_plan(parts, token_ids, segments)) + n_blocks + shape.n_layers)
    values = yield from _activations(work, neuron, token_ids, segments, parts)
    driven_by = yield from _driven_by(work, neuron, parts)
    alike_in, alike_out = yield from _alike(work, neuron, parts)
    words = words_of(parts, logits_written(parts, _direction(parts, layer, index))[0], n_tokens=N_WORDS)
    histogram, edges = _histogram(values)
    yield NeuronProfileReady(
        request_id=question.request_id,
        run_id=question.run_id,
        layer=layer,
        neuron_index=index,
        promoted=words.promoted,
        suppressed=words.suppressed,
        driven_by=driven_by,
        contexts=_contexts(values, token_ids, parts),
        alike_in=alike_in,
        alike_out=alike_out,
        histogram=encode_tensor(histogram),
        histogram_edges=encode_tensor(edges),
    )


def _activations(
    work: Work, component: Component, token_ids: Sequence[int], segments: Sequence[Segment], parts: ModelParts
) -> Generator[AnalysisProgress, None, NDArray[np.float32]]:
    """[n]: the neuron at every token of the run."""
    found: list[NDArray[np.float32]] = []
    for piece in replay(parts, token_ids, segments, cache=new_cache(), sites=frozenset(("neurons",))):
        neurons = piece.tensors["neurons"][component.layer]
        if neurons is None:
            raise EngineError("this model's neurons cannot be seen")
        found.append(neurons[0, :, component.index].float().cpu().numpy())
        yield work.step()
    return np.concatenate(found)


@torch.inference_mode()
def driven_values(parts: ModelParts, layer: int, index: int, embeddings: Tensor) -> Tensor:
    """[n]: the neuron's activation if its MLP read embeddings [n, d_model] and nothing else."""
    here = parts.anatomy.layers[layer]
    into, gate = neuron_readers(parts, layer)
    norm = mlp_reading_norm(here)
    read = embeddings.float() if norm is None else parts.anatomy.norm_weights(norm).apply(embeddings.float())

    def driven(module: torch.nn.Module) -> Tensor:
        bias = bias_of(module)
        along = read @ weight_in_out(module)[:, index].float()
        return along if bias is None else along + bias[index].float()

    if here.activation is None:
        raise EngineError(f"{parts.anatomy.shape.architecture}'s MLPs are not of a known kind")
    activated: Tensor = here.activation(driven(into if gate is None else gate))
    return activated if gate is None else activated * driven(into)


def _driven_by(
    work: Work, component: Component, parts: ModelParts
) -> Generator[AnalysisProgress, None, list[TopToken]]:
    """The tokens whose embeddings drive the neuron hardest, in either direction, hardest first."""
    weight = embedding(parts)
    found: list[Tensor] = []
    for start in range(0, len(weight), _VOCAB_BLOCK):
        block = weight[start : start + _VOCAB_BLOCK]
        found.append(driven_values(parts, component.layer, component.index, block))
        yield work.step()
    values = torch.cat(found)
    best = values.abs().topk(min(N_WORDS, len(values))).indices
    return labelled(parts, best, values[best])


def alike(mine: NeuronWeights, index: int, others: NeuronWeights) -> tuple[Tensor, Tensor]:
    """Cosines [d_mlp] of the other layer's neurons with mine, on the input and the output side.

    Where there is a gate a neuron reads twice, and its input side is the mean of the two cosines.
    """
    into = _cosines(mine.into[:, index], others.into.T)
    if mine.gate is not None and others.gate is not None:
        into = (into + _cosines(mine.gate[:, index], others.gate.T)) / 2
    return into, _cosines(mine.output[index], others.output)


def _cosines(one: Tensor, rows: Tensor) -> Tensor:
    cosines: Tensor = (rows @ one) / (rows.norm(dim=-1) * one.norm()).clamp_min(1e-30)
    return cosines


def _alike(
    work: Work, component: Component, parts: ModelParts
) -> Generator[AnalysisProgress, None, tuple[list[Feeder], list[Feeder]]]:
    """The most alike of the whole model on each side, most alike first; one layer's weights at a time."""
    index = component.index
    whole = neuron_weights(parts, component.layer)
    mine = NeuronWeights(
        into=whole.into[:, index : index + 1].clone(),
        gate=None if whole.gate is None else whole.gate[:, index : index + 1].clone(),
        output=whole.output[index : index + 1].clone(),
    )
    del whole
    sides: tuple[list[Feeder], list[Feeder]] = ([], [])
    for layer in range(parts.anatomy.shape.n_layers):
        cosines = alike(mine, 0, neuron_weights(parts, layer))
        for found, side, part in zip(sides, cosines, _SIDES, strict=True):
            found.extend(_most_alike(side, layer, part, own=index if layer == component.layer else None))
            found.sort(key=lambda feeder: -abs(feeder.score))
            del found[N_ALIKE:]
        yield work.step()
    return sides


def _most_alike(cosines: Tensor, layer: int, part: EdgePart, *, own: int | None) -> list[Feeder]:
    """One layer's neurons with the largest cosines [d_mlp], in either direction; `own` is the neuron itself."""
    best = cosines.abs().topk(min(N_ALIKE + 1, len(cosines))).indices.tolist()
    return [
        Feeder(component=Component(kind="neuron", layer=layer, index=neuron), part=part, score=float(cosines[neuron]))
        for neuron in best
        if neuron != own
    ]


def _direction(parts: ModelParts, layer: int, index: int) -> Tensor:
    """[1, d_model]: what the neuron writes, through the final norm's gain."""
    written = neuron_weights(parts, layer).output[index]
    norm = parts.weights.final_norm
    centred = written - written.mean() if norm.is_centred else written
    return (centred * norm.gain)[None]


def _histogram(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Counts [N_BINS] and edges [N_BINS + 1] of the finite values."""
    counts, edges = np.histogram(values[np.isfinite(values)], bins=N_BINS)
    return counts.astype(np.float32), edges.astype(np.float32)


def _contexts(values: NDArray[np.float32], token_ids: Sequence[int], parts: ModelParts) -> list[NeuronContext]:
    """The tokens at which the neuron is loudest, loudest first."""
    order = np.argsort(-np.abs(np.nan_to_num(values)), kind="stable")[:N_CONTEXTS].tolist()
    return [neuron_context(parts.tokens, token_ids, pos, float(values[pos])) for pos in order]
