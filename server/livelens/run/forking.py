"""What a run that branches off another one starts from."""

from __future__ import annotations

from livelens.model.engine import Engine
from livelens.protocol.messages import AppliedInterventions, BranchPoint, Sampling
from livelens.run.jobs import ForkJob
from livelens.run.opening import Opening, RefusedError, first_token
from livelens.run.reach import check_reach
from livelens.run.run import Run
from livelens.run.sampler import Sampler
from livelens.run.schedule import Segment


def fork_opening(engine: Engine, parent: Run, job: ForkJob) -> Opening:
    """What a fork begins with; raises RefusedError.

    The last position before `from_pos` is computed again: what follows it is chosen from its logits, which
    nobody keeps, and a changed set reaches the next token from there.
    """
    before = parent.opening
    if not 1 <= job.from_pos <= len(parent.tokens):
        raise RefusedError(
            "position_out_of_range",
            f"a branch may begin at token 1 to {len(parent.tokens)} of this run, not at {job.from_pos}",
        )
    put, notice = (
        (None, None) if job.token_text is None else first_token(engine, "token", job.token_text, code="bad_token")
    )
    tokens = parent.tokens[: max(job.from_pos, before.n_prompt)]
    if put is not None:
        tokens[job.from_pos : job.from_pos + 1] = [put]
    sampling = before.sampling if job.sampling is None else job.sampling
    _check_room(engine, sampling, n_tokens=len(tokens), n_generated=len(tokens) - before.n_prompt)
    sampler = Sampler(sampling)
    sampler.skip(len(tokens) - before.n_prompt)
    changes_prompt = put is not None and job.from_pos < before.n_prompt
    sequence, readout = parent.shared(job.from_pos - 1)
    return Opening(
        job=job,
        prompt=_text(engine, tokens[: before.n_prompt]) if changes_prompt else before.prompt,
        apply_chat_template=before.apply_chat_template and not changes_prompt,
        sampling=sampling,
        sampler=sampler,
        tokens=tokens,
        n_prompt=before.n_prompt,
        pair=before.pair,
        notice=notice,
        log=_log(parent.segments, job, n_most=min(engine.info.n_ctx, before.n_prompt + sampling.max_new_tokens)),
        sequence=sequence,
        readout=readout,
        branch=BranchPoint(run_id=parent.run_id, from_pos=job.from_pos, n_shared=sequence.n_positions, token_id=put),
    )


def _check_room(engine: Engine, sampling: Sampling, *, n_tokens: int, n_generated: int) -> None:
    if n_generated >= sampling.max_new_tokens:
        raise RefusedError(
            "nothing_to_generate",
            f"the branch keeps {n_generated} generated tokens and {sampling.max_new_tokens} are to be made in all: "
            "raise max_new_tokens, or branch off earlier",
        )
    if n_tokens > engine.info.n_ctx:
        raise RefusedError("context_full", f"the context of {engine.info.n_ctx} tokens is full: branch off earlier")


def _text(engine: Engine, token_ids: list[int]) -> str:
    stream = engine.text_stream(())
    return "".join(stream.push(token_id) for token_id in token_ids) + stream.flush()


def _log(segments: tuple[Segment, ...], job: ForkJob, *, n_most: int) -> list[AppliedInterventions]:
    """The parent's sets, from `from_pos` - 1 on replaced by the fork's where it brings one; raises RefusedError."""
    log = [(segment.from_pos, segment.revision, segment.interventions) for segment in segments]
    if job.interventions is not None:
        boundary, revision = job.from_pos - 1, log[-1][1] + 1
        try:
            check_reach(job.interventions, boundary, segments, n_most=n_most)
        except ValueError as error:
            raise RefusedError("positions_out_of_reach", str(error)) from error
        log = [entry for entry in log if entry[0] < boundary]
        log.append((boundary, revision, list(job.interventions)))
    return [
        AppliedInterventions(
            revision=revision,
            from_pos=from_pos,
            mode="from_now",
            interventions=list(interventions),
            author=job.tag.viewer_id,
        )
        for from_pos, revision, interventions in log
    ]
