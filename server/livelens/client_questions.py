"""The Python client's questions about a run: why this token, and what a part does.

    answer = await client.attribution(run, pos=14, target=" Mary", distractor=" John", node="L9H6@14")
    effects = await client.measure(run, pos=14, scope="heads", progress=lambda done, total: print(done, "of", total))

`pos` is the position whose prediction is explained. `target`, a token id or text, is by default the token
that followed, `distractor` the likeliest other one. One question of a kind is worked on at a time: a newer
one ends the older with `superseded`. Cancelling the task that waits gives the question up. All raise
LivelensError.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from livelens.client_answers import (
    Effects,
    HeadProfile,
    NeuronProfile,
    Overview,
    Patching,
    TokenRelevance,
    effects_from,
    head_profile_from,
    neuron_profile_from,
    overview_from,
    patching_from,
    relevance_from,
)
from livelens.client_connection import Connection
from livelens.client_run import ClientRun, LivelensError
from livelens.protocol.components import node_id, parse_component, parse_node
from livelens.protocol.messages import (
    AblationValue,
    Acknowledged,
    Answer,
    AttributionReady,
    CancelAnalysis,
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
    Question,
    RelevanceMethod,
    RelevanceReady,
    RequestAttribution,
    RequestEffects,
    RequestHeadProfile,
    RequestHeadScores,
    RequestNeuronProfile,
    RequestOverview,
    RequestPatching,
    RequestPaths,
    RequestRelevance,
)

Progress = Callable[[int, int], None]
Token = int | str | None
_Answer = TypeVar("_Answer", bound=Answer)


class Questions:
    """Base of `Client`: what may be asked of a run that it watches."""

    _connection: Connection

    async def attribution(
        self,
        run: ClientRun,
        *,
        pos: int,
        node: str | None = None,
        direction: Literal["incoming", "outgoing"] = "incoming",
        target: Token = None,
        distractor: Token = None,
        against_mean: bool = False,
        key_pos: int | None = None,
        n_edges: int = 40,
        progress: Progress | None = None,
    ) -> AttributionReady:
        """Who fed a node (`L12H3@37`, `L7N1404@12`, `L5.mlp@12`, `embed@3`), or whom it fed; none: the logit."""
        question = RequestAttribution(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(pos=pos, target=target, distractor=distractor, against_mean=against_mean),
            node=_node(node) if node is not None else f"logit@{pos}",
            direction=direction,
            key_pos=key_pos,
            n_edges=n_edges,
        )
        return await self._ask(question, AttributionReady, progress)

    async def paths(
        self,
        run: ClientRun,
        *,
        pos: int,
        target: Token = None,
        distractor: Token = None,
        against_mean: bool = False,
        n_nodes: int = 60,
        threshold: float = 0.01,
        progress: Progress | None = None,
    ) -> PathsReady:
        """The strongest paths from the input tokens to this logit."""
        question = RequestPaths(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(pos=pos, target=target, distractor=distractor, against_mean=against_mean),
            n_nodes=n_nodes,
            threshold=threshold,
        )
        return await self._ask(question, PathsReady, progress)

    async def overview(
        self,
        run: ClientRun,
        *,
        pos: int,
        target: Token = None,
        distractor: Token = None,
        against_mean: bool = False,
        n_neurons: int = 64,
        progress: Progress | None = None,
    ) -> Overview:
        """Direct effects of every component on the metric, and the metric layer by layer."""
        question = RequestOverview(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(pos=pos, target=target, distractor=distractor, against_mean=against_mean),
            n_neurons=n_neurons,
        )
        return overview_from(await self._ask(question, OverviewReady, progress))

    async def relevance(
        self,
        run: ClientRun,
        *,
        pos: int,
        target: Token = None,
        distractor: Token = None,
        against_mean: bool = False,
        method: RelevanceMethod = "frozen",
        progress: Progress | None = None,
    ) -> TokenRelevance:
        """How much each token of the text matters for the metric."""
        question = RequestRelevance(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(pos=pos, target=target, distractor=distractor, against_mean=against_mean),
            method=method,
        )
        return relevance_from(await self._ask(question, RelevanceReady, progress))

    async def measure(
        self,
        run: ClientRun,
        components: Sequence[str | Component] = (),
        *,
        pos: int,
        target: Token = None,
        distractor: Token = None,
        against_mean: bool = False,
        scope: MeasuredScope = "listed",
        ablation: AblationValue = "zero",
        everywhere: bool = False,
        n_neurons: int = 32,
        progress: Progress | None = None,
    ) -> Effects:
        """Ablate components one at a time, run, compare: `components`, or all of a `scope`."""
        question = RequestEffects(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(pos=pos, target=target, distractor=distractor, against_mean=against_mean),
            scope=scope,
            components=[parse_component(item) if isinstance(item, str) else item for item in components],
            ablation=ablation,
            everywhere=everywhere,
            n_neurons=n_neurons,
        )
        return effects_from(await self._ask(question, EffectsReady, progress))

    async def patching(
        self,
        run: ClientRun,
        corrupted_prompt: str,
        *,
        pos: int,
        target: Token = None,
        distractor: Token = None,
        against_mean: bool = False,
        apply_chat_template: bool = False,
        progress: Progress | None = None,
    ) -> Patching:
        """What of this run restores the metric when it is put into the run of `corrupted_prompt`, place by place.

        The other prompt needs as many tokens as the run's; what was generated since follows it as it is.
        """
        question = RequestPatching(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            metric=MetricQuestion(pos=pos, target=target, distractor=distractor, against_mean=against_mean),
            corrupted_prompt=corrupted_prompt,
            apply_chat_template=apply_chat_template,
        )
        return patching_from(await self._ask(question, PatchingReady, progress))

    async def head_profile(
        self,
        run: ClientRun,
        *,
        layer: int,
        head_index: int,
        query_pos: int | None = None,
        progress: Progress | None = None,
    ) -> HeadProfile:
        """What one head does: where it looks in this run, what its weights read and write."""
        question = RequestHeadProfile(
            request_id=self._connection.request_id(),
            run_id=run.run_id,
            layer=layer,
            head_index=head_index,
            query_pos=query_pos,
        )
        return head_profile_from(await self._ask(question, HeadProfileReady, progress))

    async def head_scores(self, run: ClientRun, *, progress: Progress | None = None) -> HeadScoresReady:
        """Every head's pattern scores, measured once per model on repeated random tokens."""
        question = RequestHeadScores(request_id=self._connection.request_id(), run_id=run.run_id)
        return await self._ask(question, HeadScoresReady, progress)

    async def neuron_profile(
        self, run: ClientRun, *, layer: int, neuron_index: int, progress: Progress | None = None
    ) -> NeuronProfile:
        """What one neuron does: what drives it, what it promotes, where in this run it is loud."""
        question = RequestNeuronProfile(
            request_id=self._connection.request_id(), run_id=run.run_id, layer=layer, neuron_index=neuron_index
        )
        return neuron_profile_from(await self._ask(question, NeuronProfileReady, progress))

    async def _ask(self, question: Question, answer_type: type[_Answer], progress: Progress | None) -> _Answer:
        try:
            return await self._connection.ask(question, answer_type, on_progress=progress)
        except asyncio.CancelledError:
            self._connection.in_background(self._give_up(question))
            raise

    async def _give_up(self, question: Question) -> None:
        command = CancelAnalysis(
            request_id=self._connection.request_id(), run_id=question.run_id, cancels=question.request_id
        )
        with contextlib.suppress(LivelensError):  # it ended with the connection, or with the run
            await self._connection.ask(command, Acknowledged)


def _node(text: str) -> str:
    # Here, because a frame that the server cannot read at all is answered without saying which command it was.
    try:
        return node_id(parse_node(text))
    except ValueError as error:
        raise LivelensError("bad_node", str(error)) from error
