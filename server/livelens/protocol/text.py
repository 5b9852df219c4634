"""A run's tokens as its steps tell them: the same on the server and in every Python viewer."""

from __future__ import annotations

from livelens.protocol.messages import Step, TokenInfo


def enter_token(tokens: list[TokenInfo], step: Step) -> str:
    """Put the token that `step` chose into `tokens`; returns what it adds to the generated text.

    A step that comes again, or of a prompt position, adds nothing: it only brings its log-probability.
    """
    if step.chosen_id is None or step.chosen_text is None:
        return ""
    token = TokenInfo(token_id=step.chosen_id, text=step.chosen_text, logprob=step.logprob)
    if step.pos + 1 == len(tokens):
        tokens.append(token)
        return step.text_delta
    if step.pos + 1 < len(tokens):
        tokens[step.pos + 1] = token
    return ""
