"""What a run starts from: its prompt as tokens, its target and distractor, its log; or why it cannot start."""

from __future__ import annotations

from livelens.model.engine import Engine, EngineError, LogitPair
from livelens.protocol.messages import AppliedInterventions
from livelens.run.jobs import StartJob


class RefusedError(Exception):
    """A command that this run cannot take; `code` is stable, the text says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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

    def first_token(role: str, text: str | None) -> int | None:
        if text is None:
            return None
        ids = engine.token_ids(text)
        if not ids:
            raise RefusedError("bad_target", f"the {role} {text!r} has no token in this model")
        if len(ids) > 1:
            first = engine.token_text(ids[0])
            notices.append(f"the {role} {text!r} is {len(ids)} tokens in this model; its first, {first!r}, is used")
        return ids[0]

    target_id, distractor_id = first_token("target", job.target_token), first_token("distractor", job.distractor_token)
    if target_id is not None and target_id == distractor_id:
        raise RefusedError(
            "same_target_and_distractor",
            "target and distractor are the same token: choose two that differ (a leading space makes another token)",
        )
    return LogitPair(target_id=target_id, distractor_id=distractor_id), "; ".join(notices) or None


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
