"""One run as the session knows it: its text, its log of events in order, the arrays of its positions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from livelens.model.engine import StepArrays
from livelens.protocol.messages import (
    CHANNEL_TENSORS,
    AppliedInterventions,
    BranchPoint,
    Channel,
    Event,
    FinishReason,
    RunState,
    Sampling,
    Step,
    TokenInfo,
    TwinMode,
)
from livelens.protocol.text import enter_token
from livelens.run.history import History
from livelens.run.jobs import Arrays, PastRun, RunReady, StepMade, Tag

EXACT_BUDGET_BYTES: Final = 512 * 1024 * 1024
QUANTISED_BUDGET_BYTES: Final = 1024 * 1024 * 1024


@dataclass(slots=True)
class StepEntry:
    """A step in the order of emission. `arrays` is emptied when the step is void or its memory is needed.

    is_more: its position was told of before, and this adds to it.
    """

    step: Step
    arrays: Arrays
    at: float
    is_more: bool = False


@dataclass(slots=True)
class EventEntry:
    """Any other thing that every viewer is told, in order with the steps; `tag`: whose command it answers."""

    event: Event
    tag: Tag | None = None


@dataclass(slots=True)
class RunRecord:
    """What is needed to serve a run to any number of viewers, at whatever place in it they are."""

    run_id: str
    author: str
    prompt: str
    apply_chat_template: bool
    sampling: Sampling
    n_prompt_tokens: int
    tokens: list[TokenInfo]
    target_id: int | None
    distractor_id: int | None
    notice: str | None
    state: RunState
    intervention_log: list[AppliedInterventions]
    history: History
    text: str = ""
    finish_reason: FinishReason | None = None
    entries: list[StepEntry | EventEntry] = field(default_factory=list)
    latest: dict[int, Step] = field(default_factory=dict)  # by position, all that is known of it; arrays: `history`
    holding: dict[int, list[StepEntry]] = field(default_factory=dict)  # by position, the entries that hold its arrays
    # By position: when its step was first made under its revision, and what the token after it added to the text. A
    # step that comes again (its lens, or after a recompute) has a later time and adds no text.
    first_ns: dict[int, int] = field(default_factory=dict)
    text_deltas: dict[int, str] = field(default_factory=dict)
    rewinds: list[tuple[int, int]] = field(default_factory=list)  # (last_seq then, from_pos)
    last_seq: int = -1
    viewers: set[str] = field(default_factory=set)
    channels: frozenset[Channel] = frozenset()
    left_at: float | None = None  # when the last viewer left
    # What viewers wanted whose connection was lost, and until when: they will want no hole when they come back.
    lingering: list[tuple[float, frozenset[Channel]]] = field(default_factory=list)
    branch: BranchPoint | None = None
    twin: TwinMode = "off"
    twin_from_pos: int | None = None

    @property
    def revision(self) -> int:
        """Revision of the newest intervention set."""
        return self.intervention_log[-1].revision

    @property
    def is_finished(self) -> bool:
        """The run has ended, or ends now."""
        return self.state == "finished"

    def as_past(self) -> PastRun:
        """What a question about another run may look through; later steps do not change it."""
        arrays = ((pos, self.history.quantised(pos)) for pos in range(len(self.tokens)))
        return PastRun(
            run_id=self.run_id,
            token_ids=tuple(token.token_id for token in self.tokens),
            arrays=tuple((pos, held) for pos, held in arrays if held),
        )

    def add_event(self, event: Event, tag: Tag | None = None) -> None:
        """Tell every viewer, in order with the steps."""
        self.entries.append(EventEntry(event, tag))

    def add_step(self, report: StepMade, now: float) -> None:
        """Number a step, keep its arrays, and append what it says to the text."""
        self.last_seq += 1
        before = self.latest.get(report.step.pos)
        step = msgspec.structs.replace(report.step, seq=self.last_seq)
        if before is None or before.revision != step.revision:
            self.first_ns[step.pos] = step.server_ns
        if step.pos + 1 == len(self.tokens):
            self.text_deltas[step.pos] = step.text_delta
        entry = StepEntry(step, report.arrays, now, is_more=before is not None)
        self.entries.append(entry)
        self.holding.setdefault(step.pos, []).append(entry)
        self.history.put(step.pos, report.arrays, report.exact)
        for pos in self.history.let_go():
            self._empty(pos)
        if before is not None:
            step = _with_what_was_known(step, before)
        self.latest[step.pos] = step
        self.text += enter_token(self.tokens, step)

    def _empty(self, pos: int) -> None:
        """Nobody is sent a position's arrays any more, and their memory is free."""
        for entry in self.holding.pop(pos, ()):
            entry.arrays = {}

    def as_made(self, pos: int) -> Step:
        """A position's step with the time and the text of the moment at which its token was made."""
        step = self.latest[pos]
        return msgspec.structs.replace(step, server_ns=self.first_ns[pos], text_delta=self.text_deltas.get(pos, ""))

    def take_over(self, parent: RunRecord, branch: BranchPoint) -> None:
        """The steps of the positions that this run shares with the one it branched off; arrays are held once.

        Without that one's twin: what these positions would have been without interventions is not this run's.
        """
        kept = {pos: text for pos, text in parent.text_deltas.items() if pos + 1 < branch.from_pos}
        self.text_deltas.update(kept)  # some tokens are no whole characters, and add to the text otherwise than alone
        self.tokens[: branch.n_shared + 1] = parent.tokens[: branch.n_shared + 1]  # with their log-probabilities
        for pos in sorted(pos for pos in parent.latest if pos < branch.n_shared):
            self.last_seq += 1
            self.latest[pos] = msgspec.structs.replace(
                parent.latest[pos], run_id=self.run_id, seq=self.last_seq, twin=None
            )
            arrays = without_channel(parent.history.quantised(pos) or {}, "difference")
            self.first_ns[pos] = parent.first_ns[pos]
            exact = parent.history.exact(pos)
            self.history.put(pos, arrays, StepArrays() if exact is None else exact)

    def rewind(self, from_pos: int, n_tokens: int, text: str) -> None:
        """Make steps from `from_pos` on void; keep `n_tokens` tokens and `text`."""
        self.rewinds.append((self.last_seq, from_pos))
        self.history.truncate(from_pos)
        for pos in [pos for pos in self.holding if pos >= from_pos]:
            self._empty(pos)
        for pos in [pos for pos in self.latest if pos >= from_pos]:
            del self.latest[pos], self.first_ns[pos]
        for pos in [pos for pos in self.text_deltas if pos + 1 >= n_tokens]:
            del self.text_deltas[pos]
        del self.tokens[n_tokens:]
        self.text = text

    def rewound_since(self, last_seq: int) -> int | None:
        """The first position that became void after `last_seq` was sent; none when none did."""
        since = [from_pos for seq, from_pos in self.rewinds if seq >= last_seq]
        return min(since) if since else None


def _with_what_was_known(step: Step, before: Step) -> Step:
    """A step that adds to its position's earlier one, with what only that one told."""
    if step.lens_texts is None and before.lens_texts is not None:
        step = msgspec.structs.replace(step, lens_texts=before.lens_texts)
    if step.direct_target_id is None:
        step = msgspec.structs.replace(
            step, direct_target_id=before.direct_target_id, direct_distractor_id=before.direct_distractor_id
        )
    return step if step.twin is not None else msgspec.structs.replace(step, twin=before.twin)


def without_channel(arrays: Arrays, channel: Channel) -> Arrays:
    """The arrays of all other channels; the same ones where it has none here."""
    names = CHANNEL_TENSORS[channel]
    if not any(name in arrays for name in names):
        return arrays
    return {name: values for name, values in arrays.items() if name not in names}


def record_from(ready: RunReady) -> RunRecord:
    """The record of a run that has just begun."""
    return RunRecord(
        run_id=ready.run_id,
        author=ready.tag.viewer_id,
        prompt=ready.prompt,
        apply_chat_template=ready.apply_chat_template,
        sampling=ready.sampling,
        n_prompt_tokens=ready.n_prompt_tokens,
        tokens=list(ready.tokens),
        target_id=ready.target_id,
        distractor_id=ready.distractor_id,
        notice=ready.notice,
        state=ready.state,
        intervention_log=list(ready.intervention_log),
        history=History(exact_budget_bytes=EXACT_BUDGET_BYTES, quantised_budget_bytes=QUANTISED_BUDGET_BYTES),
        text=ready.text,
        text_deltas={pos - 1: ready.tokens[pos].text for pos in range(ready.n_prompt_tokens, len(ready.tokens))},
        channels=ready.channels,
        branch=ready.branch,
        twin=ready.twin,
        twin_from_pos=ready.twin_from_pos,
    )
