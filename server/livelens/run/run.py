"""One generation as a state machine, advanced by the model thread one forward call at a time.

A run's positions are computed in one of two ways. *Catching up* (the prompt, or what a recompute
voided) goes in chunks and leaves each position's arrays to be read out later, oldest first, so that
they do not hold up the first token. *Decoding* computes the newest token's position, chooses the
next token and reports the step at once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from livelens.model.engine import AnalysisContext, Engine, TokenSequence
from livelens.protocol.messages import (
    AppliedInterventions,
    Channel,
    FinishReason,
    RunFinished,
    RunRewound,
    RunState,
    TwinMode,
)
from livelens.run.jobs import Applied, InterveneJob, Report, StateChanged, Tag, TwinSet
from livelens.run.opening import Opening, ready_report
from livelens.run.preparing import nonfinite_message, opening_schedule, prepare
from livelens.run.readout import Readout, UnreadPosition
from livelens.run.reporting import Reporter
from livelens.run.resources import Surroundings
from livelens.run.schedule import Segment
from livelens.run.steps import EmitStep, StepMaker
from livelens.run.twin import Forwarded, TwinRows
from livelens.run.twin_steps import captured_channels


class Run:
    """One prompt, one sampler, a growing list of tokens. Used by the model thread only."""

    def __init__(
        self,
        engine: Engine,
        opening: Opening,
        *,
        emit: Callable[[Report], None],
        emit_step: EmitStep,
        surroundings: Surroundings | None = None,
    ) -> None:
        """Get ready; raises RefusedError when its interventions name what is not there."""
        self.opening = opening
        job = opening.job
        self.run_id = job.run_id
        self.channels = job.channels
        self._engine = engine
        self._info = engine.info
        self._emit = emit
        self._sampling = opening.sampling
        self._sampler = opening.sampler
        self.tokens = list(opening.tokens)
        self._n_prompt = opening.n_prompt
        self._step_maker = StepMaker(engine, run_id=job.run_id, n_prompt=self._n_prompt, pair=opening.pair)
        self._schedule = opening_schedule(engine, opening, surroundings)
        self._rows = TwinRows(
            opening.sequence,
            info=self._info,
            schedule=self._schedule,
            tokens=self.tokens,
            n_prompt=self._n_prompt,
            sampling=opening.sampling,
            eos_ids=engine.eos_ids,
        )
        self._rows.set_mode(job.twin)
        self._text = engine.text_stream(self.tokens[: self._n_prompt])
        self._generated_text = "".join(self._text.push(token_id) for token_id in self.tokens[self._n_prompt :])
        self._catch_up_to = self._catch_up_target
        self._n_computed_at_end = 0  # what was computed when the cache was let go of
        self._held: Forwarded | None = None  # computed up to the last token, which waits for its successor
        self._captured_channels: frozenset[Channel] = frozenset()  # of the last forward call
        self._is_paused = job.start_paused
        self._steps_allowed = 0
        self.finish_reason: FinishReason | None = None
        self._finish_message = ""
        self._finish_told = False
        self.reporter = Reporter(opening.readout, self._step_maker, emit_step, self.tokens)
        self._emit(
            ready_report(
                opening,
                token_text=self._step_maker.token_text,
                text=self._generated_text,
                state=self.state,
                twin_from_pos=self._rows.from_pos,
            )
        )

    # ------------------------------------------------------------------ what the worker asks

    @property
    def state(self) -> RunState:
        """The state that viewers are told."""
        if self.finish_reason is not None:
            return "finished"
        if self._is_paused and not self._steps_allowed:
            return "paused"
        return "prefilling" if self._rows.n_positions < self._catch_up_to else "running"

    @property
    def wants_forward(self) -> bool:
        """There is a position to compute or a token to choose now."""
        if self.finish_reason is not None:
            return False
        return self.is_catching_up or not self._is_paused or self._steps_allowed > 0 or self._rows.is_behind

    @property
    def has_asked(self) -> bool:
        """A position that somebody looks at waits for its logit lens."""
        return self.reporter.has_asked and "logit_lens" in self.channels

    @property
    def has_unread_lens(self) -> bool:
        """Positions whose logit lens was not computed yet, which is work for idle time."""
        return self.reporter.has_lens and "logit_lens" in self.channels

    @property
    def is_done(self) -> bool:
        """Finished and told so."""
        return self._finish_told

    @property
    def n_computed(self) -> int:
        """Positions that were computed, also after the end."""
        return max(self._rows.n_positions, self._n_computed_at_end)

    @property
    def n_most(self) -> int:
        """The positions that it can have."""
        return min(self._info.n_ctx, self._n_prompt + self._sampling.max_new_tokens)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The sets that hold, ascending by position."""
        return self._schedule.segments

    @property
    def cache_positions(self) -> int:
        """Positions whose keys and values are still held."""
        return self._rows.n_positions

    def shared(self, n_positions: int) -> tuple[TokenSequence, Readout]:
        """What a fork takes over of the first `n_positions`: all that is still held, computed once for both."""
        n_shared = min(n_positions, self._rows.n_positions)
        return self._rows.branch(n_shared), self.reporter.share(n_shared)

    def analysis_context(self) -> AnalysisContext:
        """The run as it is now, for a question about it."""
        return AnalysisContext(
            token_ids=tuple(self.tokens),
            n_prompt=self._n_prompt,
            n_positions=self.n_computed,
            segments=self._schedule.context(),
        )

    @property
    def brings_up_twin(self) -> bool:
        """The next forward call is of its clean twin's past."""
        return self._rows.is_behind

    @property
    def is_catching_up(self) -> bool:
        """Its prompt, or what a recompute voided, is still being computed."""
        return self.finish_reason is None and self._rows.n_positions < self._catch_up_to

    @property
    def _n_generated(self) -> int:
        return len(self.tokens) - self._n_prompt

    @property
    def _catch_up_target(self) -> int:
        """The newest token's own position is decoded, unless it is the prompt's and no token follows it yet."""
        return len(self.tokens) - 1 if self._n_generated else self._n_prompt

    # ------------------------------------------------------------------ commands, at a token boundary

    def pause(self, tag: Tag | None) -> None:
        """Hold at this boundary."""
        self._is_paused, self._steps_allowed = True, 0
        self._emit(StateChanged(run_id=self.run_id, state=self.state, tag=tag))

    def resume(self, tag: Tag | None) -> None:
        """Go on."""
        self._is_paused, self._steps_allowed = False, 0
        self._emit(StateChanged(run_id=self.run_id, state=self.state, tag=tag))

    def step_once(self, tag: Tag | None) -> None:
        """Make one token, then be paused."""
        self._is_paused = True
        self._steps_allowed += 1
        self._emit(StateChanged(run_id=self.run_id, state=self.state, tag=tag))

    def intervene(self, job: InterveneJob) -> None:
        """Put a set in force: from the next position on, or from an earlier one that is run again.

        Raises RefusedError, and leaves the run as it was, when the set cannot do what it says.
        """
        # Nothing was chosen from a held position yet: it is run again, so that the set reaches the next token.
        n_positions = self._next_pos
        if job.mode == "from_now":
            from_pos = n_positions
        else:
            from_pos = min(job.recompute_from, n_positions, self._n_prompt - 1 if job.restart else n_positions)
        segment = Segment(from_pos, self._schedule.revision + 1, list(job.interventions))
        prepare(self._schedule, segment, n_most=self.n_most)
        twin_from = self._rows.from_pos
        self._let_go_of_held()
        self._schedule.replace_from(segment)
        if job.mode == "recompute":
            self._rewind(from_pos, restart=job.restart, revision=segment.revision)
        applied = AppliedInterventions(
            revision=segment.revision,
            from_pos=from_pos,
            mode=job.mode,
            interventions=list(job.interventions),
            author=job.tag.viewer_id,
        )
        self._emit(Applied(run_id=self.run_id, applied=applied, tag=job.tag))
        if self._rows.from_pos != twin_from:
            self._tell_twin(None)

    def set_twin(self, mode: TwinMode, tag: Tag) -> None:
        """Carry the clean twin from the next position on, or no longer."""
        if mode not in (self._rows.mode, "off"):
            self._let_go_of_held()  # nothing was chosen from it yet: so it has its twin, too
        elif mode == "off" and self._held is not None:
            self._held = Forwarded(self._held.patched, None)
        self._rows.set_mode(mode)
        self._tell_twin(tag)

    def stop(self, reason: FinishReason, message: str, tag: Tag | None) -> None:
        """End, keeping the text; harmless when it has ended."""
        if self.finish_reason is None:
            self._finish(reason, message, tag)
        elif tag is not None:
            self._emit(StateChanged(run_id=self.run_id, state=self.state, tag=tag))

    def fail(self, text: str) -> None:
        """End because the engine faulted; nothing more is read out of it."""
        self._finish("engine_fault", f"the engine failed: {text}. The text so far is kept; start a new run.")
        self.close()

    def want_channels(self, channels: frozenset[Channel]) -> None:
        """Capture these from the next forward call on."""
        self.channels = channels
        if channels and "logit_lens" not in channels:  # no channel at all: a hidden tab, which will come back
            self.reporter.drop_lens()

    def close(self) -> None:
        """Free the cache and everything captured; harmless when closed."""
        self._held = None
        self.reporter.clear()
        self.let_go_of_cache()

    def let_go_of_cache(self) -> None:
        """Free the keys and values; a fork then computes everything again."""
        self._n_computed_at_end = self.n_computed
        self._rows.close()

    # ------------------------------------------------------------------ work

    def advance(self) -> None:
        """One forward call, and one token where it reaches the end. Raises what the engine raises."""
        before = self.state
        held = self._held if self._held is not None else self._forward()
        if before == "prefilling" and self.state == "running":
            self._emit(StateChanged(run_id=self.run_id, state="running"))
        if held is None:
            return
        if self._is_paused and not self._steps_allowed:
            self._held = held
        else:
            self._choose(held)

    def tell_finish(self) -> None:
        """Report the end, once every computed position was reported."""
        assert self.finish_reason is not None
        self._finish_told = True
        self._emit(
            RunFinished(
                run_id=self.run_id,
                reason=self.finish_reason,
                message=self._finish_message,
                n_generated=self._n_generated,
                text=self._generated_text,
            )
        )

    def _forward(self) -> Forwarded | None:
        """Compute what comes next; the captured positions when the last token's is among them."""
        start = self._rows.n_positions
        if start >= self._info.n_ctx:
            self._finish("context_full", f"the context of {self._info.n_ctx} tokens is full")
            return None
        if self._rows.bring_up():
            return None
        end = self._catch_up_to if self.is_catching_up else len(self.tokens)
        boundary = self._schedule.end_of_segment(start)
        end = self._rows.end_of_piece(start, end if boundary is None else min(end, boundary))
        self._captured_channels = self.channels
        channels = captured_channels(self.channels, self._info, has_twin=self._rows.carries(start))
        forwarded = self._rows.forward(start, end, masks=self._schedule.masks_at(start), channels=channels)
        if not np.isfinite(forwarded.patched.logits).all():
            self._finish("nonfinite", nonfinite_message(forwarded.patched, end - 1, n_layers=self._info.n_layers))
            return None
        reaches_end = end == len(self.tokens)
        self._leave_unread(forwarded, start, end - 1 if reaches_end else end)
        return forwarded if reaches_end else None

    def _leave_unread(self, forwarded: Forwarded, start: int, end: int) -> None:
        channels = self.channels - {"causal_effects"}  # of the newest token alone, as it is made
        self.reporter.tell_later(
            self._unread(forwarded, pos - start, pos, channels=channels) for pos in range(start, end)
        )

    def _unread(self, forwarded: Forwarded, index: int, pos: int, *, channels: frozenset[Channel]) -> UnreadPosition:
        return UnreadPosition(
            forwarded.patched,
            index,
            pos,
            self.tokens[pos + 1],
            self._schedule.at(pos).revision,
            channels,
            clean=self._rows.clean_position(pos, forwarded.clean),
        )

    def _choose(self, forwarded: Forwarded) -> None:
        self._held = None
        chosen_id = self._sampler.choose(forwarded.patched.logits)
        self._rows.choose(forwarded.clean)
        pos = len(self.tokens) - 1
        ends_text = self._sampling.stop_at_eos and chosen_id in self._engine.eos_ids
        text_delta = "" if ends_text else self._text.push(chosen_id)  # nobody wants to read <|im_end|>
        self._generated_text += text_delta
        self.tokens.append(chosen_id)
        # A held position may have been captured for fewer channels than are wanted by now.
        channels = self._captured_channels & self.channels
        unread = self._unread(forwarded, forwarded.patched.n_positions - 1, pos, channels=channels)
        self.reporter.tell(unread, channels=channels, text_delta=text_delta)
        self._check_end(ends_text=ends_text)
        if self._steps_allowed:
            self._steps_allowed -= 1
            if self.finish_reason is None:
                self._emit(StateChanged(run_id=self.run_id, state=self.state))

    def _check_end(self, *, ends_text: bool) -> None:
        if ends_text:
            self._finish("eos", "the model ended its text")
        elif self._n_generated >= self._sampling.max_new_tokens:
            self._finish("max_new_tokens", f"{self._n_generated} tokens were asked for")
        elif self._rows.n_positions >= self._info.n_ctx:
            self._finish("context_full", f"the context of {self._info.n_ctx} tokens is full")

    # ------------------------------------------------------------------ helpers

    @property
    def _next_pos(self) -> int:
        """The next position to compute; a held one, from which nothing was chosen, may be computed again."""
        return self._rows.n_positions if self._held is None else len(self.tokens) - 1

    def _let_go_of_held(self) -> None:
        if self._held is not None:
            self._held = None
            self._rows.truncate(len(self.tokens) - 1)

    def _tell_twin(self, tag: Tag | None) -> None:
        self._emit(TwinSet(run_id=self.run_id, mode=self._rows.mode, from_pos=self._rows.from_pos, tag=tag))

    def _rewind(self, from_pos: int, *, restart: bool, revision: int) -> None:
        self._rows.truncate(from_pos)
        self.reporter.drop_from(from_pos)
        if restart:
            del self.tokens[self._n_prompt :]
            self._rows.restart()
            self._sampler.restart()
            self._text = self._engine.text_stream(self.tokens)
            self._generated_text = ""
        self._catch_up_to = self._catch_up_target
        self.reporter.newest_first = self._catch_up_to - 1 if self._n_generated else None
        self._emit(
            RunRewound(
                run_id=self.run_id,
                from_pos=from_pos,
                n_tokens=len(self.tokens),
                text=self._generated_text,
                revision=revision,
            )
        )

    def _finish(self, reason: FinishReason, message: str, tag: Tag | None = None) -> None:
        if self.finish_reason is not None:
            return
        self.finish_reason, self._finish_message = reason, message
        self._held = None
        self._rows.let_go_of_clean()
        self._generated_text += self._text.flush()
        self._emit(StateChanged(run_id=self.run_id, state="finished", tag=tag))
