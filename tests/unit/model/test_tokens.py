"""Text streams: what comes out piece by piece is what decoding the whole gives, for any text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from livelens.model.engine import EngineError
from livelens.model.tokens import Tokens, TokenTextStream

SAMPLE = ["the quick brown fox", "naïve café 漢字 👩‍👩‍👧 \u00ad\u0301", "def add(a, b):\n    return a + b\n"]


def _byte_level() -> PreTrainedTokenizerFast:
    """A byte-level BPE that saw little text: most characters outside ASCII are several tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(SAMPLE, trainer)
    backend.add_special_tokens([AddedToken("<|im_end|>"), AddedToken("<|end of text|>")])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end of text|>")


TOKENIZER = _byte_level()


class Slow:
    """A tokenizer without a fast backend."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return str(TOKENIZER.decode(list(token_ids), skip_special_tokens=skip_special_tokens))


def _streams(prompt_ids: list[int]) -> list[TokenTextStream]:
    return [Tokens(TOKENIZER).text_stream(prompt_ids), TokenTextStream(Slow(), prompt_ids, backend=None)]


@given(prompt=st.text(max_size=12), text=st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_the_pieces_of_any_text_join_to_its_decoding(prompt: str, text: str) -> None:
    prompt_ids, ids = TOKENIZER.encode(prompt), TOKENIZER.encode(text)
    expected = TOKENIZER.decode([*prompt_ids, *ids])[len(TOKENIZER.decode(prompt_ids)) :]
    for stream in _streams(prompt_ids):
        pieces = [stream.push(token_id) for token_id in ids]
        assert "".join(pieces) + stream.flush() == expected


@given(ids=st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30))
@settings(max_examples=300, deadline=None)
def test_the_pieces_of_any_tokens_join_to_their_decoding(ids: list[int]) -> None:
    """Broken characters included: a model may generate any bytes."""
    for stream in _streams([]):
        pieces = [stream.push(token_id) for token_id in ids]
        assert "".join(pieces) + stream.flush() == TOKENIZER.decode(ids)


def test_nothing_comes_out_inside_a_character() -> None:
    ids = TOKENIZER.encode("漢")
    assert len(ids) == 3
    for stream in _streams([]):
        assert [stream.push(token_id) for token_id in ids] == ["", "", "漢"]
        assert stream.flush() == ""


def test_an_unfinished_character_comes_out_at_the_end_as_a_replacement() -> None:
    ids = TOKENIZER.encode("a漢")
    for stream in _streams([]):
        assert "".join(stream.push(token_id) for token_id in ids[:-1]) == "a"
        assert stream.flush() == "\ufffd"
        assert stream.flush() == ""


def test_special_tokens_are_shown() -> None:
    end = TOKENIZER.convert_tokens_to_ids("<|im_end|>")
    assert Tokens(TOKENIZER).text_stream([]).push(end) == "<|im_end|>"
    assert Tokens(TOKENIZER).token_text(end) == "<|im_end|>"


def test_ends_of_text_come_from_configs_the_tokenizer_and_the_turn_marks() -> None:
    named = {TOKENIZER.eos_token_id, TOKENIZER.convert_tokens_to_ids("<|im_end|>")}
    assert Tokens(TOKENIZER).eos_ids([7]) == frozenset({7, *named})


def test_without_a_chat_template_asking_for_one_is_refused() -> None:
    with pytest.raises(EngineError, match="no chat template"):
        Tokens(_byte_level()).tokenize("hello", apply_chat_template=True)


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__.__base__.__subclasses__()[0].__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.system('touch pwned') }}",
        "{% for x in range(10**9) %}{{ raise_exception('no') }}{% endfor %}",
        "{{ unclosed",
    ],
)
def test_a_hostile_chat_template_is_an_error_without_effect(template: str, tmp_path: object) -> None:
    tokenizer = _byte_level()
    tokenizer.chat_template = template
    with pytest.raises(EngineError, match="chat template failed"):
        Tokens(tokenizer).tokenize("hello", apply_chat_template=True)
