"""Text to tokens and back, through transformers' tokenizer only (its chat templates run sandboxed)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import PreTrainedTokenizerBase

from livelens.model.engine import EngineError

_REPLACEMENT = "\ufffd"
# Chat models end a turn with a token that their config does not always name.
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>")


class Decoder(Protocol):
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
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if isinstance(backend, Tokenizer):
            return TokenTextStream(self._tokenizer, prompt_ids, backend=backend)
        return TokenTextStream(self._tokenizer, prompt_ids, backend=None)


class TokenTextStream:
    """`TextStream`: what was given is never taken back, and never ends inside a character.

    Runs on tokenizers' DecodeStream, which decodes only a window. A tokenizer without that backend, and
    what is left over at the end, is decoded from the last place where text was given out.
    """

    def __init__(self, decoder: Decoder, prompt_ids: Sequence[int], *, backend: Tokenizer | None) -> None:
        self._decoder = decoder
        self._backend = backend
        self._stream = None if backend is None else _decode_stream(prompt_ids)
        # The tokens before the last text given out, which say how the next ones are to be read, and
        # those since then.
        self._before = list(prompt_ids[-1:])
        self._pending: list[int] = []

    def push(self, token_id: int) -> str:
        """The text that this token completes; empty inside a character."""
        self._pending.append(token_id)
        if self._stream is None or self._backend is None:
            text = self._pending_text()
            return "" if not text or text.endswith(_REPLACEMENT) else self._give(text)
        text = self._stream.step(self._backend, token_id) or ""
        return self._give(text) if text else ""

    def flush(self) -> str:
        """What is left, with U+FFFD for an unfinished character; the stream may go on afterwards."""
        text = self._pending_text() if self._pending else ""
        if self._stream is not None:
            self._stream = _decode_stream([*self._before, *self._pending])
        return self._give(text)

    def _pending_text(self) -> str:
        prefix = self._decode(self._before)
        return self._decode([*self._before, *self._pending])[len(prefix) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._decoder.decode(ids, skip_special_tokens=False)) if ids else ""

    def _give(self, text: str) -> str:
        self._before = self._pending or self._before
        self._pending = []
        return text


def _decode_stream(prompt_ids: Sequence[int]) -> DecodeStream:
    return DecodeStream(ids=list(prompt_ids), skip_special_tokens=False)
