"""A run as it stands, for a viewer that begins or comes back."""

from __future__ import annotations

from livelens.protocol.messages import RunSnapshot
from livelens.session.record import RunRecord


def snapshot(record: RunRecord) -> RunSnapshot:
    """Enough to draw the text; the steps follow."""
    return RunSnapshot(
        run_id=record.run_id,
        prompt=record.prompt,
        apply_chat_template=record.apply_chat_template,
        sampling=record.sampling,
        n_prompt_tokens=record.n_prompt_tokens,
        tokens=list(record.tokens),
        text=record.text,
        state=record.state,
        finish_reason=record.finish_reason,
        revision=record.revision,
        intervention_log=list(record.intervention_log),
        last_seq=record.last_seq,
        n_steps=len(record.latest),
        author=record.author,
        target_id=record.target_id,
        distractor_id=record.distractor_id,
        notice=record.notice,
        branch=record.branch,
        twin=record.twin,
        twin_from_pos=record.twin_from_pos,
    )


def missing_positions(record: RunRecord, last_seq: int) -> list[int]:
    """Positions whose steps a viewer with `last_seq` lacks: the newest first, then the oldest on."""
    if record.rewound_since(last_seq) is not None:
        last_seq = -1
    missing = sorted(pos for pos, step in record.latest.items() if step.seq > last_seq)
    return missing[-1:] + missing[:-1]
