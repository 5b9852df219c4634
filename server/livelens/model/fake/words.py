"""The fake engine's words: a few hundred, in categories, with a grammar of which may follow which."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# category -> (words, categories that may follow, how strongly each)
_GRAMMAR: dict[str, tuple[str, dict[str, float]]] = {
    "start": (
        " The A Every This That One Some Once Here",
        {"noun": 1.0, "adjective": 0.8},
    ),
    "name": (
        " Mary John Paris Rome France Italy Alice Bob Berlin Tokyo Ada Alan",
        {"verb": 1.0, "join": 0.6, "past": 0.9},
    ),
    "determiner": (" the a his her its their no every", {"noun": 1.0, "adjective": 0.9}),
    "adjective": (
        " small old bright quiet red blue warm cold kind clever hidden open early late green tall gentle rapid",
        {"noun": 1.2, "adjective": 0.1},
    ),
    "noun": (
        " store drink cat dog house river city tower umbrella boots sneakers rain morning garden book window friend"
        " letter train mountain song light road child king table stone bird sea ship answer question capital game",
        {"verb": 1.0, "preposition": 0.9, "join": 0.7, "end": 0.9, "past": 1.0, "comma": 0.4},
    ),
    "verb": (
        " sees finds gives carries wears opens likes knows makes remembers follows holds builds hears writes is",
        {"determiner": 1.1, "name": 0.8, "adverb": 0.4},
    ),
    "past": (
        " went gave saw found carried opened liked knew made remembered followed held built heard wrote was",
        {"preposition": 1.0, "determiner": 1.0, "adverb": 0.5, "name": 0.4},
    ),
    "preposition": (" to in of with near under over from beside behind by", {"determiner": 1.1, "name": 0.8}),
    "adverb": (" slowly often again never always gladly soon", {"preposition": 0.9, "end": 0.8, "determiner": 0.6}),
    "join": (" and but while because when therefore", {"determiner": 1.0, "name": 1.0, "pronoun": 0.6}),
    "pronoun": (" I you he she it we they", {"verb": 0.8, "past": 1.0}),
    "comma": (",", {"join": 1.3, "determiner": 0.7, "name": 0.5}),
    "end": (".", {"start": 1.0, "name": 0.9}),
    "goodbye": (" goodbye Goodbye", {"eos": 4.0}),
}
_LETTERS_MAY_BE_FOLLOWED_BY = {"verb": 0.8, "preposition": 0.8, "join": 0.6, "end": 0.6, "past": 0.8}
_GRAMMAR_GAIN = 1.4
_NEVER = -1.6
_WORD = re.compile(r" ?[A-Za-z]+|\s|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """pieces: bytes by token id; category_of [d_vocab]; follows [n_categories, n_categories]: row, then column;
    unsaid [d_vocab]: pieces that only prompts hold."""

    pieces: list[bytes]
    ids: dict[bytes, int]
    category_of: NDArray[np.intp]
    follows: NDArray[np.float32]
    unsaid: NDArray[np.bool_]
    eos_id: int = 0

    def encode(self, text: str) -> list[int]:
        """Known words are one token, everything else its UTF-8 bytes; `decode` of it is `text` again."""
        result: list[int] = []
        for part in _WORD.findall(text):
            piece = part.encode("utf-8", "surrogatepass")
            known = self.ids.get(piece)
            result.extend([known] if known is not None else [1 + byte for byte in piece])
        return result

    @staticmethod
    def new_decoder() -> codecs.IncrementalDecoder:
        """Bytes to text, character by character."""
        return codecs.getincrementaldecoder("utf-8")("replace")


def build_vocabulary() -> Vocabulary:
    """Token 0 ends a text, 1 to 256 are bytes, then the words, with and without a space before them."""
    categories = ["eos", "letters", *_GRAMMAR]
    number = {name: index for index, name in enumerate(categories)}
    pieces = [b"<eos>", *(bytes([byte]) for byte in range(256))]
    category_of = [number["eos"], *[number["letters"]] * 256]
    unsaid = [False, *[True] * 256]
    ids: dict[bytes, int] = {}
    for name, (words, _) in _GRAMMAR.items():
        for word in words.split():
            # A word at the start of a text or after a line break has no space; the model never says those.
            forms = [b" " + word.encode(), word.encode()] if word.isalpha() else [word.encode()]
            for piece in forms:
                ids[piece] = len(pieces)
                pieces.append(piece)
                category_of.append(number[name])
                unsaid.append(len(forms) == 2 and piece == forms[1])
    follows = np.full((len(categories), len(categories)), _NEVER, np.float32)
    for name, (_, following) in _GRAMMAR.items():
        for after, strength in following.items():
            follows[number[name], number[after]] = _GRAMMAR_GAIN * strength
    for after, strength in _LETTERS_MAY_BE_FOLLOWED_BY.items():
        follows[number["letters"], number[after]] = _GRAMMAR_GAIN * strength
    return Vocabulary(pieces, ids, np.asarray(category_of), follows, np.asarray(unsaid))
