"""Every question about a run that was computed, and every answer.

A question is answered between tokens, piece by piece, with `analysis_progress` in between; `cancel_analysis`
gives it up. `attribution.py` asks why, `measured.py` asks by ablating and patching, `profiles.py` asks what a part
does, `lenses.py` what the stream holds, `comparison.py` where two runs differ.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from livelens.protocol.attribution import (
    AttributionReady,
    OverviewReady,
    PathsReady,
    RelevanceReady,
    RequestAttribution,
    RequestOverview,
    RequestPaths,
    RequestRelevance,
)
from livelens.protocol.commands import RunCommand
from livelens.protocol.comparison import ComparisonReady, RequestComparison
from livelens.protocol.directions import DirectionInfo, DirectionRecipe
from livelens.protocol.events import AnswerEvent
from livelens.protocol.lenses import (
    AttentionEntropyReady,
    HeadLensReady,
    LensReady,
    RequestAttentionEntropy,
    RequestHeadLens,
    RequestLens,
    RequestStreamPca,
    StreamPcaReady,
)
from livelens.protocol.measured import EffectsReady, PatchingReady, RequestEffects, RequestPatching
from livelens.protocol.profiles import (
    HeadProfileReady,
    HeadScoresReady,
    NeuronProfileReady,
    RequestHeadProfile,
    RequestHeadScores,
    RequestNeuronProfile,
)
from livelens.protocol.rank_one_questions import RankOneEditReady, RequestRankOneEdit
from livelens.protocol.step_tensors import Tensor
from livelens.protocol.vocabulary import AnalysisKind, Count


class RequestDirection(RunCommand, frozen=True, tag="request_direction"):
    """Make a direction of the residual stream; the server holds it from then on, for `direction_id`."""

    recipe: DirectionRecipe
    name: Annotated[str, Meta(max_length=120, description="empty: the server's own words")] = ""

    def __post_init__(self) -> None:
        if self.recipe.kind == "put":
            raise ValueError("a direction of kind put is sent with put_direction")


class AnalysisProgress(AnswerEvent, frozen=True, tag="analysis_progress"):
    """A question is being worked on."""

    done: Count
    total: Count


class DirectionReady(AnswerEvent, frozen=True, tag="direction_ready"):
    """Answer to `request_direction`."""

    direction: DirectionInfo
    vector: Annotated[Tensor, Meta(description="float32 [d_model]")]
    separation: Annotated[
        Tensor | None,
        Meta(
            description="float32 [n_layers], of contrast, each prompt held out in turn: how far on its own side of the "
            "others' midpoint it lies, along their difference; the mean over all, in standard deviations"
        ),
    ] = None
    accuracy: Annotated[
        Tensor | None, Meta(description="float32 [n_layers], of contrast: held-out prompts on their own side")
    ] = None


Question = (
    RequestAttribution
    | RequestPaths
    | RequestOverview
    | RequestRelevance
    | RequestEffects
    | RequestPatching
    | RequestHeadProfile
    | RequestHeadScores
    | RequestNeuronProfile
    | RequestLens
    | RequestHeadLens
    | RequestStreamPca
    | RequestAttentionEntropy
    | RequestComparison
    | RequestDirection
    | RequestRankOneEdit
)
Answer = (
    AnalysisProgress
    | AttributionReady
    | PathsReady
    | OverviewReady
    | RelevanceReady
    | EffectsReady
    | PatchingReady
    | HeadScoresReady
    | HeadProfileReady
    | NeuronProfileReady
    | LensReady
    | HeadLensReady
    | StreamPcaReady
    | AttentionEntropyReady
    | ComparisonReady
    | DirectionReady
    | RankOneEditReady
)


def analysis_kind(question: Question) -> AnalysisKind:
    """The question's tag without `request_`: what `Capabilities.analyses` lists."""
    return _KINDS[type(question)]


_KINDS: dict[type[Question], AnalysisKind] = {
    RequestAttribution: "attribution",
    RequestPaths: "paths",
    RequestOverview: "overview",
    RequestRelevance: "relevance",
    RequestEffects: "effects",
    RequestPatching: "patching",
    RequestHeadProfile: "head_profile",
    RequestHeadScores: "head_scores",
    RequestNeuronProfile: "neuron_profile",
    RequestDirection: "direction",
    RequestRankOneEdit: "rank_one_edit",
    RequestLens: "lens",
    RequestHeadLens: "head_lens",
    RequestStreamPca: "stream_pca",
    RequestAttentionEntropy: "attention_entropy",
    RequestComparison: "comparison",
}
