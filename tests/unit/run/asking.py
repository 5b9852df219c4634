"""The fake engine with answers to questions: so many pieces each, none of them true."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from livelens.model.engine import AnalysisContext, AnalysisRefusedError
from livelens.model.fake import FakeEngine
from livelens.protocol.messages import (
    ANALYSIS_KINDS,
    AnalysisProgress,
    Answer,
    HeadScoresReady,
    Metric,
    ModelInfo,
    NeuronProfileReady,
    Question,
    RelevanceReady,
    RequestNeuronProfile,
    RequestRelevance,
)
from livelens.protocol.tensors import encode_tensor


class AskableEngine(FakeEngine):
    """`log`: (request_id, piece) as they were worked on; `n_open`: answers begun and not let go of."""

    def __init__(self, *, n_pieces: int = 3, **shape: int) -> None:
        super().__init__(**shape)  # type: ignore[arg-type]
        self.n_pieces = n_pieces
        self.fault: Exception | None = None
        self.log: list[tuple[int, int]] = []
        self.contexts: list[AnalysisContext] = []
        self.n_open = 0
        capabilities = msgspec.structs.replace(
            super().info.capabilities, analyses=list(ANALYSIS_KINDS), missing_analyses=[]
        )
        self._askable_info = msgspec.structs.replace(super().info, capabilities=capabilities)

    @property
    def info(self) -> ModelInfo:
        return self._askable_info

    def analyse(self, question: Question, context: AnalysisContext) -> Iterator[Answer]:
        self.contexts.append(context)
        self.n_open += 1
        try:
            for piece in range(self.n_pieces):
                self.log.append((question.request_id, piece))
                if self.fault is not None and piece == 1:
                    raise self.fault
                yield AnalysisProgress(
                    request_id=question.request_id, run_id=question.run_id, done=piece + 1, total=self.n_pieces
                )
            yield self._answer(question)
        finally:
            self.n_open -= 1

    def _answer(self, question: Question) -> Answer:
        ids = {"request_id": question.request_id, "run_id": question.run_id}
        if isinstance(question, RequestNeuronProfile):
            return _profile_without_content(question)
        if not isinstance(question, RequestRelevance):
            return HeadScoresReady(**ids, scores=[], n_random_tokens=0)
        pos = question.metric.pos
        metric = Metric(pos, 1, "", 2, "", 0.5)
        tokens = encode_tensor(np.arange(pos + 1, dtype=np.float32))
        return RelevanceReady(**ids, metric=metric, method="frozen", tokens=tokens, bias=0.0, total=0.5, error=0.0)


def _profile_without_content(question: RequestNeuronProfile) -> NeuronProfileReady:
    nothing = encode_tensor(np.zeros(1, np.float32))
    return NeuronProfileReady(
        request_id=question.request_id,
        run_id=question.run_id,
        layer=question.layer,
        neuron_index=question.neuron_index,
        promoted=[],
        suppressed=[],
        driven_by=[],
        contexts=[],
        alike_in=[],
        alike_out=[],
        histogram=nothing,
        histogram_edges=nothing,
    )


REFUSAL = AnalysisRefusedError("token_unknown", "there is no such token")
