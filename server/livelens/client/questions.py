"""The Python client's questions about a run: why this token, and what a part does.

    answer = await client.attribution(run, pos=14, target=" Mary", distractor=" John", node="L9H6@14")
    effects = await client.measure(run, pos=14, scope="heads", progress=lambda done, total: print(done, "of", total))

`pos` is the position whose prediction is explained. `target`, a token id or text, is by default the token
that followed, `distractor` the likeliest other one. One question of a kind is worked on at a time: a newer
one ends the older with `superseded`. Cancelling the task that waits gives the question up. All raise
LivelensError.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Required, TypedDict, Unpack

from livelens.client.answers import (
    Effects,
    HeadProfile,
    NeuronProfile,
    Overview,
    Patching,
    TokenRelevance,
    with_arrays,
)
from livelens.client.asking import Progress
from livelens.client.comparison import Comparison, comparison_of
from livelens.client.errors import LivelensError
from livelens.client.lenses import LensQuestions
from livelens.client.run import ClientRun
from livelens.protocol.components import node_id, parse_component, parse_node
from livelens.protocol.messages import (
    AblationValue,
    AttributionReady,
    ComparisonReady,
    Component,
    EffectsReady,
    HeadProfileReady,
    HeadScoresReady,
    MeasuredScope,
    MetricQuestion,
    NeuronProfileReady,
    OverviewReady,
    PatchingReady,
    PathsReady,
    RelevanceMethod,
    RelevanceReady,
    RequestAttribution,
    RequestComparison,
    RequestEffects,
    RequestHeadProfile,
    RequestHeadScores,
    RequestNeuronProfile,
    RequestOverview,
    RequestPatching,
    RequestPaths,
    RequestRelevance,
)

Token = int | str | None


class MetricOptions(TypedDict, total=False):
    """What is explained: see `MetricQuestion`."""

    pos: Required[int]
    target: Token
    distractor: Token
    against_mean: bool


class Questions(LensQuestions):
    """Base of `Client`: what may be asked of a run that it watches."""

    async def attribution(
        self,
        run: ClientRun,
        *,
        node: str | None = None,
        direction: Literal["incoming", "outgoing"] = "incoming",
        key_pos: int | None = None,
        n_edges: int = 40,
        progress: Progress | None = None,
        **metric: Unpack[MetricOptions],
    ) -> AttributionReady:
        """Who fed a node (`L12H3@37`, `L7N1404@12`, `L5.mlp@12`, `embed@3`), or whom it fed; none: the logit."""
        question = RequestAttribution(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(**metric),
            node=_node(node) if node is not None else f"logit@{metric['pos']}",
            direction=direction,
            key_pos=key_pos,
            n_edges=n_edges,
        )
        return await self._ask(question, AttributionReady, progress)

    async def paths(
        self,
        run: ClientRun,
        *,
        n_nodes: int = 60,
        threshold: float = 0.01,
        progress: Progress | None = None,
        **metric: Unpack[MetricOptions],
    ) -> PathsReady:
        """The strongest paths from the input tokens to this logit."""
        question = RequestPaths(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(**metric),
            n_nodes=n_nodes,
            threshold=threshold,
        )
        return await self._ask(question, PathsReady, progress)

    async def overview(
        self,
        run: ClientRun,
        *,
        n_neurons: int = 64,
        progress: Progress | None = None,
        **metric: Unpack[MetricOptions],
    ) -> Overview:
        """Direct effects of every component on the metric, and the metric layer by layer."""
        question = RequestOverview(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(**metric),
            n_neurons=n_neurons,
        )
        return with_arrays(await self._ask(question, OverviewReady, progress), Overview)

    async def relevance(
        self,
        run: ClientRun,
        *,
        method: RelevanceMethod = "frozen",
        progress: Progress | None = None,
        **metric: Unpack[MetricOptions],
    ) -> TokenRelevance:
        """How much each token of the text matters for the metric."""
        question = RequestRelevance(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(**metric),
            method=method,
        )
        return with_arrays(await self._ask(question, RelevanceReady, progress), TokenRelevance)

    async def measure(
        self,
        run: ClientRun,
        components: Sequence[str | Component] = (),
        *,
        scope: MeasuredScope = "listed",
        ablation: AblationValue = "zero",
        everywhere: bool = False,
        n_neurons: int = 32,
        progress: Progress | None = None,
        **metric: Unpack[MetricOptions],
    ) -> Effects:
        """Ablate components one at a time, run, compare: `components`, or all of a `scope`."""
        question = RequestEffects(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(**metric),
            scope=scope,
            components=[parse_component(item) if isinstance(item, str) else item for item in components],
            ablation=ablation,
            everywhere=everywhere,
            n_neurons=n_neurons,
        )
        return with_arrays(await self._ask(question, EffectsReady, progress), Effects)

    async def patching(
        self,
        run: ClientRun,
        corrupted_prompt: str,
        *,
        apply_chat_template: bool = False,
        progress: Progress | None = None,
        **metric: Unpack[MetricOptions],
    ) -> Patching:
        """What of this run restores the metric when it is put into the run of `corrupted_prompt`, place by place.

        The other prompt needs as many tokens as the run's; what was generated since follows it as it is.
        """
        question = RequestPatching(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(**metric),
            corrupted_prompt=corrupted_prompt,
            apply_chat_template=apply_chat_template,
        )
        return with_arrays(await self._ask(question, PatchingReady, progress), Patching)

    async def head_profile(
        self,
        run: ClientRun,
        *,
        layer: int,
        head_index: int,
        query_pos: int | None = None,
        key_pos: int | None = None,
        progress: Progress | None = None,
    ) -> HeadProfile:
        """What one head does: where it looks in this run, what its weights read and write.

        query_pos: whose reading is put into words, the last by default. key_pos: a token to be among what is read,
        however little the query looks at it.
        """
        question = RequestHeadProfile(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            layer=layer,
            head_index=head_index,
            query_pos=query_pos,
            key_pos=key_pos,
        )
        return with_arrays(await self._ask(question, HeadProfileReady, progress), HeadProfile)

    async def head_scores(self, run: ClientRun, *, progress: Progress | None = None) -> HeadScoresReady:
        """Every head's pattern scores, measured once per model on repeated random tokens."""
        question = RequestHeadScores(request_id=self._connection.request_id(), run_id=run.run_id)
        return await self._ask(question, HeadScoresReady, progress)

    async def neuron_profile(
        self,
        run: ClientRun,
        *,
        layer: int,
        neuron_index: int,
        past_runs: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> NeuronProfile:
        """What one neuron does: what drives it, what it promotes, where in this run it is loud.

        past_runs: ids of further runs, to be looked through for loud tokens as far as the server still has them.
        """
        question = RequestNeuronProfile(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            layer=layer,
            neuron_index=neuron_index,
            past_run_ids=list(past_runs),
        )
        return with_arrays(await self._ask(question, NeuronProfileReady, progress), NeuronProfile)

    async def comparison(
        self,
        run: ClientRun,
        other_prompt: str | None = None,
        *,
        pos: int,
        apply_chat_template: bool = False,
        without_interventions: bool = False,
        target: Token = None,
        distractor: Token = None,
        progress: Progress | None = None,
    ) -> Comparison:
        """Every channel at `pos` of this run and of another: of `other_prompt`, or without the interventions."""
        question = RequestComparison(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            pos=pos,
            other_prompt=other_prompt,
            apply_chat_template=apply_chat_template,
            without_interventions=without_interventions,
            target=target,
            distractor=distractor,
        )
        return comparison_of(await self._ask(question, ComparisonReady, progress))


def _node(text: str) -> str:
    # Here, so that the text says what a node's name looks like, and not which pattern a field misses.
    try:
        return node_id(parse_node(text))
    except ValueError as error:
        raise LivelensError("bad_node", str(error)) from error
