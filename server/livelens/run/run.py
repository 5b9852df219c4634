"""One generation as a state machine, advanced by the model thread one forward call at a time.

A run's positions are computed in one of two ways. *Catching up* (the prompt, or what a recompute
voided) goes in chunks and leaves each position's arrays to be read out later, oldest first, so that
they do not hold up the first token. *Decoding* computes the newest token's position, chooses the
next token and reports the step at once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from livelens.model.engine import AnalysisContext, Captured, ContextSegment, Engine, TokenSequence
from livelens.model.interventions import InterventionMasks, masks_from
from livelens.protocol.messages import (
    MEASURED_CHANNELS,
    AppliedInterventions,
    Channel,
    FinishReason,
    InterventionSpec,
    RunFinished,
    RunRewound,
    RunState,
    TokenInfo,
)
from livelens.run.jobs import Applied, InterveneJob, Report, RunReady, StateChanged, Tag
from livelens.run.opening import Opening, RefusedError
from livelens.run.reach import check_reach
from livelens.run.readout import Readout, UnreadPosition, chunk_length
from livelens.run.resources import RunResources, Surroundings
from livelens.run.schedule import Schedule, Segment
from livelens.run.steps import EmitStep, StepMaker


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
        self._emit_step = emit_step
        self._sampling = opening.sampling
        self._sampler = opening.sampler
        self.tokens = list(opening.tokens)
        self._n_prompt = opening.n_prompt
        self._step_maker = StepMaker(engine, run_id=job.run_id, n_prompt=self._n_prompt, pair=opening.pair)
        self._schedule = Schedule(
            [Segment(s.from_pos, s.revision, s.interventions) for s in opening.log], self._make_masks
        )
        known = Surroundings(directions={}) if surroundings is None else surroundings
        self._resources = RunResources(engine, self.tokens[: self._n_prompt], known)
        for segment in self._schedule.segments:
            self._schedule.masks_of(segment)
        self._sequence = opening.sequence
        self._text = engine.text_stream(self.tokens[: self._n_prompt])
        self._generated_text = "".join(self._text.push(token_id) for token_id in self.tokens[self._n_prompt :])
        self._catch_up_to = self._catch_up_target
        self._newest_first: int | None = None  # after a rewind the newest position is reported before the rest
        self._n_computed_at_end = 0  # what was computed when the cache was let go of
        self._held: Captured | None = None  # computed up to the last token, which waits for its successor
        self._captured_channels: frozenset[Channel] = frozenset()  # of the last forward call
        self._is_paused = job.start_paused
        self._steps_allowed = 0
        self.finish_reason: FinishReason | None = None
        self._finish_message = ""
        self._finish_told = False
        self._readout = opening.readout
        self._emit(self._ready())

    def _ready(self) -> RunReady:
        opening, text = self.opening, self._step_maker.token_text
        return RunReady(
            run_id=self.run_id,
            tag=opening.job.tag,
            prompt=opening.prompt,
            apply_chat_template=opening.apply_chat_template,
            sampling=opening.sampling,
            tokens=[TokenInfo(token_id=token_id, text=text(token_id)) for token_id in self.tokens],
            n_prompt_tokens=self._n_prompt,
            text=self._generated_text,
            target_id=opening.pair.target_id,
            distractor_id=opening.pair.distractor_id,
            notice=opening.notice,
            intervention_log=opening.log,
            state=self.state,
            channels=opening.job.channels,
            branch=opening.branch,
        )

    # ------------------------------------------------------------------ what the worker asks

    @property
    def state(self) -> RunState:
        """The state that viewers are told."""
        if self.finish_reason is not None:
            return "finished"
        if self._is_paused and not self._steps_allowed:
            return "paused"
        return "prefilling" if self._sequence.n_positions < self._catch_up_to else "running"

    @property
    def wants_forward(self) -> bool:
        """There is a position to compute or a token to choose now."""
        if self.finish_reason is not None:
            return False
        return self.is_catching_up or not self._is_paused or self._steps_allowed > 0

    @property
    def has_unread(self) -> bool:
        """Positions that were computed and not yet reported."""
        return self._readout.has_unread

    @property
    def has_asked(self) -> bool:
        """A position that somebody looks at waits for its logit lens."""
        return self._readout.has_asked and "logit_lens" in self.channels

    @property
    def has_unread_lens(self) -> bool:
        """Positions whose logit lens was not computed yet, which is work for idle time."""
        return self._readout.has_lens and "logit_lens" in self.channels

    @property
    def is_done(self) -> bool:
        """Finished and told so."""
        return self._finish_told

    @property
    def n_computed(self) -> int:
        """Positions that were computed, also after the end."""
        return max(self._sequence.n_positions, self._n_computed_at_end)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The sets that hold, ascending by position."""
        return self._schedule.segments

    @property
    def cache_positions(self) -> int:
        """Positions whose keys and values are still held."""
        return self._sequence.n_positions

    def shared(self, n_positions: int) -> tuple[TokenSequence, Readout]:
        """What a fork takes over of the first `n_positions`: all that is still held, computed once for both."""
        n_shared = min(n_positions, self._sequence.n_positions)
        return self._sequence.branch(n_shared), self._readout.share(n_shared)

    def analysis_context(self) -> AnalysisContext:
        """The run as it is now, for a question about it."""
        return AnalysisContext(
            token_ids=tuple(self.tokens),
            n_prompt=self._n_prompt,
            n_positions=self.n_computed,
            segments=tuple(
                ContextSegment(
                    from_pos=segment.from_pos, revision=segment.revision, masks=self._schedule.masks_of(segment)
                )
                for segment in self._schedule.segments
            ),
        )

    @property
    def is_catching_up(self) -> bool:
        """Its prompt, or what a recompute voided, is still being computed."""
        return self.finish_reason is None and self._sequence.n_positions < self._catch_up_to

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
        n_positions = self._sequence.n_positions if self._held is None else len(self.tokens) - 1
        if job.mode == "from_now":
            from_pos = n_positions
        else:
            from_pos = min(job.recompute_from, n_positions, self._n_prompt - 1 if job.restart else n_positions)
        segment = Segment(from_pos, self._schedule.revision + 1, list(job.interventions))
        self._prepare(segment)
        if self._held is not None:
            self._held = None
            self._sequence.truncate(n_positions)
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
            self._readout.drop_lens()

    def want_lens(self, positions: list[int]) -> None:
        """Compute these positions' logit lens before other idle work."""
        self._readout.prefer_lens(positions)

    def close(self) -> None:
        """Free the cache and everything captured; harmless when closed."""
        self._held = None
        self._readout.clear()
        self.let_go_of_cache()

    def let_go_of_cache(self) -> None:
        """Free the keys and values; a fork then computes everything again."""
        self._n_computed_at_end = self.n_computed
        self._sequence.close()

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

    def read_one(self) -> None:
        """Report a position that waits: one that somebody asked for, else the oldest."""
        if self._readout.has_asked:
            self._read_asked()
        else:
            self._report_unread(self._readout.next_unread())

    def read_one_lens(self) -> None:
        """Compute and report one position's logit lens."""
        if self._readout.has_asked:
            self._read_asked()
        else:
            self._report(self._readout.next_lens(), channels=frozenset({"logit_lens"}))

    def _read_asked(self) -> None:
        unread, was_reported = self._readout.next_asked()
        self._report(unread, channels=frozenset({"logit_lens"}) if was_reported else unread.channels)

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

    def _forward(self) -> Captured | None:
        """Compute what comes next; the captured positions when the last token's is among them."""
        start = self._sequence.n_positions
        if start >= self._info.n_ctx:
            self._finish("context_full", f"the context of {self._info.n_ctx} tokens is full")
            return None
        end = self._catch_up_to if self.is_catching_up else len(self.tokens)
        boundary = self._schedule.end_of_segment(start)
        end = min(end, start + chunk_length(self._info, start), boundary if boundary is not None else end)
        self._captured_channels = self.channels
        captured = self._sequence.forward(
            self.tokens[start:end], masks=self._schedule.masks_at(start), channels=self.channels
        )
        if not np.isfinite(captured.logits).all():
            self._finish_nonfinite(captured, end - 1)
            return None
        reaches_end = end == len(self.tokens)
        self._leave_unread(captured, start, end - 1 if reaches_end else end)
        return captured if reaches_end else None

    def _leave_unread(self, captured: Captured, start: int, end: int) -> None:
        revision = self._schedule.at(start).revision
        channels = self.channels.difference(MEASURED_CHANNELS)  # of the newest token alone, as it is made
        for pos in range(start, end):
            self._readout.add(UnreadPosition(captured, pos - start, pos, self.tokens[pos + 1], revision, channels))
        if self._newest_first is not None and end > self._newest_first:
            newest = self._readout.take(self._newest_first)
            self._newest_first = None
            if newest is not None:
                self._report_unread(newest)
        while self._readout.is_over_budget:  # a very long prompt: memory before latency
            self._readout.drop_lens()
            if self._readout.has_unread:
                self.read_one()

    def _choose(self, captured: Captured) -> None:
        self._held = None
        chosen_id = self._sampler.choose(captured.logits)
        pos = len(self.tokens) - 1
        ends_text = self._sampling.stop_at_eos and chosen_id in self._engine.eos_ids
        text_delta = "" if ends_text else self._text.push(chosen_id)  # nobody wants to read <|im_end|>
        self._generated_text += text_delta
        self.tokens.append(chosen_id)
        # A held position may have been captured for fewer channels than are wanted by now.
        channels = self._captured_channels & self.channels
        revision = self._schedule.at(pos).revision
        unread = UnreadPosition(captured, captured.n_positions - 1, pos, chosen_id, revision, channels)
        self._report(unread, channels=channels, text_delta=text_delta)
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
        elif self._sequence.n_positions >= self._info.n_ctx:
            self._finish("context_full", f"the context of {self._info.n_ctx} tokens is full")

    def _report_unread(self, unread: UnreadPosition) -> None:
        # All that was captured, also when the only viewer has hidden its tab meanwhile: it will come back.
        self._report(unread, channels=unread.channels - {"logit_lens"})
        if "logit_lens" in unread.channels:
            self._readout.keep_for_lens(unread)

    def _report(self, unread: UnreadPosition, *, channels: frozenset[Channel], text_delta: str = "") -> None:
        token_id = self.tokens[unread.pos]
        self._emit_step(self._step_maker.step(unread, token_id, channels=channels, text_delta=text_delta))

    # ------------------------------------------------------------------ helpers

    def _make_masks(self, interventions: list[InterventionSpec]) -> InterventionMasks:
        try:
            return masks_from(interventions, self._info, self._resources)
        except ValueError as error:
            raise RefusedError("bad_interventions", str(error)) from error

    def _prepare(self, segment: Segment) -> None:
        n_most = min(self._info.n_ctx, self._n_prompt + self._sampling.max_new_tokens)
        try:
            check_reach(segment.interventions, segment.from_pos, self.segments, n_most=n_most)
        except ValueError as error:
            raise RefusedError("positions_out_of_reach", str(error)) from error
        self._schedule.masks_of(segment)

    def _rewind(self, from_pos: int, *, restart: bool, revision: int) -> None:
        self._sequence.truncate(from_pos)
        self._readout.drop_from(from_pos)
        if restart:
            del self.tokens[self._n_prompt :]
            self._sampler.restart()
            self._text = self._engine.text_stream(self.tokens)
            self._generated_text = ""
        self._catch_up_to = self._catch_up_target
        self._newest_first = self._catch_up_to - 1 if self._n_generated else None
        self._emit(
            RunRewound(
                run_id=self.run_id,
                from_pos=from_pos,
                n_tokens=len(self.tokens),
                text=self._generated_text,
                revision=revision,
            )
        )

    def _finish_nonfinite(self, captured: Captured, pos: int) -> None:
        layer = captured.first_nonfinite_layer()
        where = "the logits" if layer is None or layer >= self._info.n_layers else f"layer {layer}"
        self._finish(
            "nonfinite",
            f"not a number at position {pos}, first in {where}: no token can be chosen. "
            "Look at the interventions there, or at the weights.",
        )

    def _finish(self, reason: FinishReason, message: str, tag: Tag | None = None) -> None:
        if self.finish_reason is not None:
            return
        self.finish_reason, self._finish_message = reason, message
        self._held = None
        self._generated_text += self._text.flush()
        self._emit(StateChanged(run_id=self.run_id, state="finished", tag=tag))
