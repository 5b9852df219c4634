"""Text to tokens and back, through transformers' tokenizer only (its chat templates run sandboxed)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from transformers import PreTrainedTokenizerBase

from livelens.model.engine import EngineError

_REPLACEMENT = "\ufffd"
# Tokens of the prompt that the stream starts from: enough for any character or word start.
_CONTEXT_TOKENS = 16
# Chat models end a turn with a token that their config does not always name.
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")


class _TokenizerLike(Protocol):
    """Something whose `decode` turns ids into text."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """The text of `token_ids`."""


class Tokens:
    """A model's tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer

    @property
    def has_chat_template(self) -> bool:
        """Whether `tokenize(apply_chat_template=True)` can work."""
        return bool(getattr(self._tokenizer, "chat_template", None))

    def tokenize(self, text: str, *, apply_chat_template: bool) -> list[int]:
        """Token ids of a prompt, with the special tokens the model expects. Raises EngineError."""
        if not apply_chat_template:
            return [int(token_id) for token_id in self._tokenizer(text)["input_ids"]]
        if not self.has_chat_template:
            raise EngineError("this model has no chat template: switch it off to send the prompt as it is")
        messages = [{"role": "user", "content": text}]
        try:
            encoded = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        except Exception as error:  # a template is a program that came with the model
            raise EngineError(f"the model's chat template failed: {error}") from error
        return [int(token_id) for token_id in encoded["input_ids"]]

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a bare piece of text, no special tokens."""
        return [int(token_id) for token_id in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

    def token_text(self, token_id: int) -> str:
        """One token alone, for a label; U+FFFD where it is a part of a character."""
        text = str(self._tokenizer.decode([token_id], skip_special_tokens=False))
        piece = self._tokenizer.convert_ids_to_tokens(token_id)
        # Decoders of SentencePiece vocabularies drop the space that starts a text.
        return " " + text if isinstance(piece, str) and piece.startswith("▁") and not text.startswith(" ") else text

    def eos_ids(self, declared: Sequence[int]) -> frozenset[int]:
        """Tokens that end a text: those `declared` by the model's configs and those the tokenizer knows."""
        ids = {int(token_id) for token_id in declared}
        if self._tokenizer.eos_token_id is not None:
            ids.add(int(self._tokenizer.eos_token_id))
        vocabulary = self._tokenizer.get_vocab()
        return frozenset(ids | {int(vocabulary[end]) for end in _TURN_ENDS if end in vocabulary})

    def text_stream(self, prompt_ids: Sequence[int]) -> TokenTextStream:
        """A stream that continues after `prompt_ids`."""
        return TokenTextStream(self._tokenizer, prompt_ids)


class TokenTextStream:
    """`TextStream`: text so far is never taken back, and never ends inside a character."""

    def __init__(self, tokenizer: _TokenizerLike, prompt_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt_ids[-_CONTEXT_TOKENS:])
        self._given = self._text()

    def push(self, token_id: int) -> str:
        """The text that this token completes; empty inside a character."""
        self._ids.append(token_id)
        text = self._text()
        if text.endswith(_REPLACEMENT):
            return ""
        return self._give(text)

    def flush(self) -> str:
        """What is left, with U+FFFD for an unfinished character."""
        return self._give(self._text())

    def _text(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=False))

    def _give(self, text: str) -> str:
        new = text[len(self._given) :]
        self._given = text
        return new
