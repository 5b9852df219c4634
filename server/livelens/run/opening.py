"""What a run starts from: its prompt as tokens, its target and distractor, its log; or why it cannot start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from livelens.model.engine import Engine, EngineError, LogitPair, TokenSequence
from livelens.protocol.messages import AppliedInterventions, BranchPoint, RunState, Sampling, TokenInfo
from livelens.run.jobs import OpeningJob, RunReady, StartJob
from livelens.run.readout import Readout
from livelens.run.sampler import Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Everything that a run begins with.

    tokens: the prompt's `n_prompt`, and after a fork the generated ones that it keeps. sequence, readout: what of
    them was computed, and what of that waits to be reported.
    """

    job: OpeningJob
    prompt: str
    apply_chat_template: bool
    sampling: Sampling
    sampler: Sampler
    tokens: list[int]
    n_prompt: int
    pair: LogitPair
    notice: str | None
    log: list[AppliedInterventions]
    sequence: TokenSequence
    readout: Readout
    branch: BranchPoint | None = None


def ready_report(
    opening: Opening, *, token_text: Callable[[int], str], text: str, state: RunState, twin_from_pos: int | None
) -> RunReady:
    """What is told of a run that begins; token_text: one token alone; text: of the generated tokens that it keeps."""
    job = opening.job
    return RunReady(
        run_id=job.run_id,
        tag=job.tag,
        prompt=opening.prompt,
        apply_chat_template=opening.apply_chat_template,
        sampling=opening.sampling,
        tokens=[TokenInfo(token_id=token_id, text=token_text(token_id)) for token_id in opening.tokens],
        n_prompt_tokens=opening.n_prompt,
        text=text,
        target_id=opening.pair.target_id,
        distractor_id=opening.pair.distractor_id,
        notice=opening.notice,
        intervention_log=opening.log,
        state=state,
        channels=job.channels,
        branch=opening.branch,
        twin=job.twin,
        twin_from_pos=twin_from_pos,
    )


class RefusedError(Exception):
    """A command that this run cannot take; `code` is stable, the text says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def opening_of(engine: Engine, job: StartJob) -> Opening:
    """What a start_run begins with; raises RefusedError."""
    tokens = tokenized(engine, job)
    pair, notice = logit_pair(engine, job)
    return Opening(
        job=job,
        prompt=job.prompt,
        apply_chat_template=job.apply_chat_template,
        sampling=job.sampling,
        sampler=Sampler(job.sampling),
        tokens=tokens,
        n_prompt=len(tokens),
        pair=pair,
        notice=notice,
        log=opening_log(job),
        sequence=engine.open_sequence(),
        readout=Readout(engine.info),
    )


def tokenized(engine: Engine, job: StartJob) -> list[int]:
    """The prompt's tokens, at least one and at most n_ctx; raises RefusedError."""
    try:
        tokens = engine.tokenize(job.prompt, apply_chat_template=job.apply_chat_template)
    except EngineError as error:
        raise RefusedError("prompt_refused", str(error)) from error
    if not tokens:
        raise RefusedError("empty_prompt", "the prompt has no tokens: write something")
    n_ctx = engine.info.n_ctx
    if len(tokens) > n_ctx:
        raise RefusedError(
            "prompt_too_long", f"the prompt has {len(tokens)} tokens, this model takes {n_ctx}: shorten it"
        )
    return tokens


def logit_pair(engine: Engine, job: StartJob) -> tuple[LogitPair, str | None]:
    """Token ids of target and distractor, and a notice where a text is more than one token; raises RefusedError."""
    notices: list[str] = []

    def id_of(role: str, text: str | None) -> int | None:
        if text is None:
            return None
        token_id, notice = first_token(engine, role, text, code="bad_target")
        notices.extend([notice] if notice else [])
        return token_id

    target_id, distractor_id = id_of("target", job.target_token), id_of("distractor", job.distractor_token)
    if target_id is not None and target_id == distractor_id:
        raise RefusedError(
            "same_target_and_distractor",
            "target and distractor are the same token: choose two that differ (a leading space makes another token)",
        )
    return LogitPair(target_id=target_id, distractor_id=distractor_id), "; ".join(notices) or None


def first_token(engine: Engine, role: str, text: str, *, code: str) -> tuple[int, str | None]:
    """The token that a text is, or its first with a notice that says so; raises RefusedError (`code`) for none."""
    ids = engine.token_ids(text)
    if not ids:
        raise RefusedError(code, f"the {role} {text!r} has no token in this model")
    if len(ids) == 1:
        return ids[0], None
    first = engine.token_text(ids[0])
    return ids[0], f"the {role} {text!r} is {len(ids)} tokens in this model; its first, {first!r}, is used"


def opening_log(job: StartJob) -> list[AppliedInterventions]:
    """The sets that the job brings, from position 0 on, with revisions from 0 on; at least one, which may be empty."""
    segments = [(segment.from_pos, list(segment.interventions)) for segment in job.intervention_log]
    if not segments or segments[0][0] > 0:
        segments.insert(0, (0, []))
    return [
        AppliedInterventions(
            revision=revision,
            from_pos=from_pos,
            mode="from_now",
            interventions=interventions,
            author=job.tag.viewer_id,
        )
        for revision, (from_pos, interventions) in enumerate(segments)
    ]
