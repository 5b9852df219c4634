"""What a viewer may ask: every command, imperative, with the `request_id` that its answer echoes."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from livelens.protocol.directions import DirectionRecipe
from livelens.protocol.interventions import Component, InterventionSegment, InterventionSet
from livelens.protocol.rank_one_edits import RankOneRecipe
from livelens.protocol.values import Sampling
from livelens.protocol.vocabulary import (
    CHANNELS,
    MAX_DIRECTION_BYTES,
    MAX_PROMPT_CHARS,
    MAX_REQUESTED_POSITIONS,
    MAX_VALUE_COMPONENTS,
    ApplyMode,
    Bytes,
    Channel,
    Index,
    RequestId,
    RunId,
    ShareKey,
    TokenText,
    TwinMode,
    WireInput,
)


class _Command(WireInput, frozen=True, tag_field="type", tag=True):
    request_id: RequestId


class StartRun(_Command, frozen=True, tag="start_run"):
    """Begin a run and watch it. Any run this viewer watched before is left."""

    prompt: Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS)]
    apply_chat_template: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    start_paused: Annotated[bool, Meta(description="prefill, then wait for resume or step_once")] = False
    intervention_log: Annotated[
        list[InterventionSegment],
        Meta(max_length=1024, description="sets by the position they hold from, ascending; replays a log"),
    ] = field(default_factory=list)
    target_token: Annotated[
        TokenText | None, Meta(description="direct_logit's target; none: the token chosen at each step")
    ] = None
    distractor_token: Annotated[
        TokenText | None, Meta(description="subtracted from the target; none: the mean logit")
    ] = None
    twin: Annotated[TwinMode, Meta(description="carry a clean twin from the first position on")] = "off"


class ForkRun(_Command, frozen=True, tag="fork_run"):
    """Begin a run that branches off another one, and watch it: answered with `run_started`.

    The other run's tokens before `from_pos` are kept, and all of its prompt; the rest is generated anew. What
    both runs have in common is not computed again where the server still holds it.
    """

    run_id: RunId
    from_pos: Annotated[int, Meta(ge=1, le=2**31 - 1, description="first token that may differ from the other run's")]
    token_text: Annotated[
        TokenText | None, Meta(description="put there instead; of a text of several tokens the first")
    ] = None
    sampling: Annotated[Sampling | None, Meta(description="none: the other run's, its draws continued")] = None
    interventions: Annotated[
        InterventionSet | None,
        Meta(description="the set from position from_pos - 1 on, which chooses that token; none: the other run's log"),
    ] = None
    start_paused: Annotated[bool, Meta(description="wait for resume or step_once")] = False
    twin: Annotated[TwinMode, Meta(description="carry a clean twin of the branch; the other run's is its own")] = "off"


class JoinRun(_Command, frozen=True, tag="join_run"):
    """Watch a run that exists: by its link, or after a reload or a lost connection."""

    run_id: RunId
    last_seq: Annotated[
        int, Meta(ge=-1, le=2**53 - 1, description="newest seq the viewer holds; -1: send everything")
    ] = -1
    follows: Annotated[
        bool, Meta(description="only goes along, see `run_shared`: the viewers it shares with are not told")
    ] = False


class RunCommand(_Command, frozen=True):
    """Base of the commands about one run, which the viewer must be watching."""

    run_id: RunId


class Pause(RunCommand, frozen=True, tag="pause"):
    """Hold the run at the next token boundary; harmless when it is paused."""


class Resume(RunCommand, frozen=True, tag="resume"):
    """Go on; harmless when it is running."""


class StepOnce(RunCommand, frozen=True, tag="step_once"):
    """Make exactly one token, then be paused."""


class Stop(RunCommand, frozen=True, tag="stop"):
    """End the run, keeping its text; harmless when it has ended."""


class SetInterventions(RunCommand, frozen=True, tag="set_interventions"):
    """Replace the run's whole intervention set; the last one wins.

    `from_now`: holds from the next position on, the KV cache keeps what earlier positions computed.
    `recompute`: positions from `recompute_from` on are run again under the set; the tokens generated so
    far are kept, or with `restart` dropped and generated anew with the same seed.
    """

    interventions: InterventionSet
    mode: ApplyMode = "from_now"
    recompute_from: Annotated[Index, Meta(description="first position to run again; only for recompute")] = 0
    restart: Annotated[bool, Meta(description="drop the generated tokens; only for recompute")] = False


class SetTwin(RunCommand, frozen=True, tag="set_twin"):
    """Carry the run's clean twin from now on, or no longer; answered with `twin_changed`.

    The twin is a second row of the same batch on which no intervention acts. Its past is computed first, where an
    intervention or another text has made it different; the run's own tokens and cache stay as they are.
    `teacher_forced`: fed the run's tokens. `free_running`: begins with the run's text so far and goes on with its own
    tokens, chosen with the run's settings and seed. Positions before `from_pos` have no twin.
    """

    mode: TwinMode


class Subscribe(_Command, frozen=True, tag="subscribe"):
    """Which channels this viewer wants from now on; only what some viewer wants is computed."""

    channels: Annotated[list[Channel], Meta(max_length=len(CHANNELS))]
    visible: Annotated[
        bool, Meta(description="false: a hidden tab, tokens only; one keyframe follows when true again")
    ] = True


class RequestKeyframe(RunCommand, frozen=True, tag="request_keyframe"):
    """The viewer lost the chain of differences: the next step comes whole."""


class RequestPositions(RunCommand, frozen=True, tag="request_positions"):
    """Send the steps of these positions again, whole, in the subscribed channels."""

    positions: Annotated[list[Index], Meta(min_length=1, max_length=MAX_REQUESTED_POSITIONS)]


class RequestValues(RunCommand, frozen=True, tag="request_values"):
    """Exact float32 history of components: what the inspector shows."""

    components: Annotated[list[Component], Meta(min_length=1, max_length=MAX_VALUE_COMPONENTS)]
    from_pos: Index = 0
    to_pos: Annotated[Index | None, Meta(description="exclusive; none: up to the newest")] = None


class RequestAttention(RunCommand, frozen=True, tag="request_attention"):
    """One head's exact attention row."""

    layer: Index
    head_index: Index
    query_pos: Index


class PutDirection(_Command, frozen=True, tag="put_direction"):
    """Give the server a direction to steer with; answered with `direction_stored`. Equal vectors are one direction."""

    name: Annotated[str, Meta(min_length=1, max_length=120)]
    data: Annotated[Bytes, Meta(max_length=MAX_DIRECTION_BYTES, description="float32 little-endian [d_model]")]
    recipe: Annotated[DirectionRecipe, Meta(description="what made it, for who sees it later")] = field(
        default_factory=lambda: DirectionRecipe(kind="put")
    )
    layer: Annotated[Index | None, Meta(description="the layer after which it was read, where that is known")] = None


class PutRankOneEdit(_Command, frozen=True, tag="put_rank_one_edit"):
    """Give the server a rank-1 edit; answered with `rank_one_edit_stored`. Equal edits of one matrix are one."""

    name: Annotated[str, Meta(min_length=1, max_length=120)]
    recipe: Annotated[RankOneRecipe, Meta(description="of which matrix, and what made it")]
    key: Annotated[Bytes, Meta(max_length=MAX_DIRECTION_BYTES, description="float32 little-endian [d_in]")]
    value: Annotated[Bytes, Meta(max_length=MAX_DIRECTION_BYTES, description="float32 little-endian [d_model]")]


class ShareView(_Command, frozen=True, tag="share_view"):
    """Look at the same as the viewers who gave this key: each is told what another selects and which run it goes to.

    Answered with `acknowledged`; `run_shared` and `selection_changed` follow where the group looks at something
    already. Nothing is kept once the last of them has gone.
    """

    key: Annotated[ShareKey | None, Meta(description="none: share no longer")]


class SetSelection(_Command, frozen=True, tag="set_selection"):
    """What this viewer looks at, for the viewers it shares with; the last one wins."""

    component: Annotated[Component | None, Meta(description="none: nothing is selected")] = None
    pos: Annotated[Index | None, Meta(description="of the run that is shared; none: the newest")] = None


class CancelAnalysis(RunCommand, frozen=True, tag="cancel_analysis"):
    """Give up a question; harmless when it was answered."""

    cancels: Annotated[RequestId, Meta(description="request_id of the question")]


class Ping(_Command, frozen=True, tag="ping"):
    """Is the server there? Answered with `pong`."""


BasicCommand = (
    StartRun
    | ForkRun
    | JoinRun
    | Pause
    | Resume
    | StepOnce
    | Stop
    | SetInterventions
    | SetTwin
    | Subscribe
    | RequestKeyframe
    | RequestPositions
    | RequestValues
    | RequestAttention
    | PutDirection
    | PutRankOneEdit
    | ShareView
    | SetSelection
    | CancelAnalysis
    | Ping
)
