"""What a rank-1 edit is made of, as tokens: the prompt alone and behind its prefixes, the subject's last token in each.

The wanted word's tokens but the last are appended (teacher-forced), so that one forward call gives the probability
of each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from livelens.model.engine import AnalysisContext, AnalysisRefusedError
from livelens.model.replay import ModelParts
from livelens.protocol.messages import RankOneRecipe

MAX_PROMPT_TOKENS = 256
MAX_WANTED_TOKENS = 16
MAX_TEXT_TOKENS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRow:
    """One text of the edit. key_pos: of the subject's last token; first: of the first token that counts."""

    token_ids: list[int]
    key_pos: int
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPlan:
    """rows: the prompt alone, then behind each prefix. essence: whose next token is to stay as it is."""

    prompt_ids: list[int]
    wanted_ids: list[int]
    rows: list[EditRow]
    essence: EditRow | None
    notice: str | None


def edit_plan(recipe: RankOneRecipe, context: AnalysisContext, parts: ModelParts) -> EditPlan:
    """The tokens of an edit; raises AnalysisRefusedError, saying what is wrong."""
    prompt_ids = _prompt_ids(recipe, context, parts)
    wanted_ids, notice = _wanted(recipe, parts)
    if recipe.key_pos is None:
        key_pos = last_token_of(recipe.subject, prompt_ids, parts)
    elif recipe.key_pos < len(prompt_ids):
        key_pos = recipe.key_pos
    else:
        raise AnalysisRefusedError(
            "position_out_of_range",
            f"position {recipe.key_pos} is not in the prompt: it has positions 0 to {len(prompt_ids) - 1}",
        )
    lead = len(parts.tokens.tokenize("", apply_chat_template=False))  # what begins every text of this model
    rows = [_row([], prompt_ids, key_pos, wanted_ids)]
    for prefix in recipe.prefixes:
        rows.append(_row(tokenized(prefix, parts), prompt_ids[lead:], key_pos - lead, wanted_ids))
    n_tokens = sum(len(row.token_ids) for row in rows)
    if n_tokens > 2 * MAX_PROMPT_TOKENS:
        raise AnalysisRefusedError(
            "prompt_too_long", f"the prompt and its prefixed forms have {n_tokens} tokens together, and at most "
            f"{2 * MAX_PROMPT_TOKENS} are taken: shorten the prefixes"
        )  # fmt: skip
    essence = None
    if recipe.essence:
        ids = tokenized(recipe.essence, parts)
        essence = EditRow(token_ids=ids, key_pos=last_token_of(recipe.subject, ids, parts), first=len(ids) - 1)
    return EditPlan(prompt_ids=prompt_ids, wanted_ids=wanted_ids, rows=rows, essence=essence, notice=notice)


def tokenized(text: str, parts: ModelParts) -> list[int]:
    """A text's tokens, as a prompt's; raises AnalysisRefusedError for none, and for too many."""
    ids = parts.tokens.tokenize(text, apply_chat_template=False)
    if not ids:
        raise AnalysisRefusedError("empty_prompt", f"{text!r} has no tokens: write something")
    return _checked(ids, text, parts)


def last_token_of(subject: str, token_ids: Sequence[int], parts: ModelParts) -> int:
    """The position of the token that ends the last occurrence of a text. Raises AnalysisRefusedError."""
    stream, text, ends = parts.tokens.text_stream([]), "", []
    for token_id in token_ids:
        text += stream.push(token_id)
        ends.append(len(text))
    start = text.rfind(subject)
    if start < 0:
        raise AnalysisRefusedError(
            "subject_unknown", f"the prompt does not hold the subject {subject!r}: write it as it stands there"
        )
    return next(pos for pos, end in enumerate(ends) if end >= start + len(subject))


def _row(prefix_ids: list[int], prompt_ids: list[int], key_pos: int, wanted_ids: list[int]) -> EditRow:
    before = [*prefix_ids, *prompt_ids]
    return EditRow(
        token_ids=[*before, *wanted_ids[:-1]], key_pos=len(prefix_ids) + key_pos, first=len(before) - 1
    )  # fmt: skip


def _prompt_ids(recipe: RankOneRecipe, context: AnalysisContext, parts: ModelParts) -> list[int]:
    if recipe.prompt:
        return tokenized(recipe.prompt, parts)
    stop = context.n_positions if recipe.to_pos is None else recipe.to_pos + 1
    return _checked(list(context.token_ids[:stop]), "the run up to there", parts)


def _checked(ids: list[int], what: str, parts: ModelParts) -> list[int]:
    if len(ids) > MAX_PROMPT_TOKENS:
        name = what if len(what) < 40 else f"{what[:40]}…"
        raise AnalysisRefusedError(
            "prompt_too_long", f"{name!r} has {len(ids)} tokens, and an edit takes at most {MAX_PROMPT_TOKENS}"
        )
    return ids


def _wanted(recipe: RankOneRecipe, parts: ModelParts) -> tuple[list[int], str | None]:
    d_vocab, wanted = parts.anatomy.shape.d_vocab, recipe.wanted
    ids = [wanted] if isinstance(wanted, int) else parts.tokens.token_ids(wanted or "")
    if not ids or max(ids) >= d_vocab:
        raise AnalysisRefusedError(
            "token_unknown", f"the wanted token {wanted!r} does not exist in this model: ids are 0 to {d_vocab - 1}"
        )
    if len(ids) > MAX_WANTED_TOKENS:
        raise AnalysisRefusedError(
            "bad_target", f"{wanted!r} is {len(ids)} tokens, and an edit makes at most {MAX_WANTED_TOKENS} likely"
        )
    notices = []
    if len(ids) > 1:
        notices.append(f"{wanted!r} is {len(ids)} tokens in this model: all of them are made likely, one after another")
    if isinstance(wanted, str) and wanted[:1].isalnum():
        notices.append(f"{wanted!r} has no leading space, which makes another token of most words")
    return ids, "; ".join(notices) or None
