"""A small text encoder over a closed list of words, trained together with the denoiser."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from lingen_models.network_config import WordsConfig
from lingen_models.networks.attention import SelfAttention
from lingen_models.networks.block import FeedForward

_PAD, _BEGIN, _UNKNOWN = 0, 1, 2
_SPECIAL = 3


_WORD: Final = re.compile(r"[^\W_]+")
_NUMERALS: Final = {"1": "one", "2": "two"}
_SYNONYMS: Final[dict[str, str]] = {
    synonym: word
    for word, synonyms in {
        "ball": "balloon bubble marble",
        "sphere": "globe orb",
        "disc": "coin dot",
        "box": "block crate cube",
        "square": "rectangle tile",
        "triangle": "pyramid",
        "ring": "tire tyre wheel",
        "hoop": "loop",
        "donut": "bagel",
        "red": "cherry maroon ruby",
        "orange": "amber tangerine",
        "yellow": "gold golden",
        "green": "emerald lime",
        "blue": "azure cobalt navy sapphire",
        "purple": "indigo lavender lilac mauve",
        "pink": "fuchsia magenta",
        "white": "ivory",
        "black": "ebony",
        "huge": "colossal gigantic immense massive oversized",
        "tiny": "mini miniature minuscule teeny",
        "move": "dash race run shift wander",
        "slide": "scroll",
        "fly": "soar",
        "rise": "ascend",
        "sink": "descend",
        "fall": "plummet plunge tumble",
        "bounce": "bob",
        "jump": "leap",
        "spin": "revolve whirl",
        "pulse": "beat throb",
        "grow": "expand",
        "shrink": "contract",
        "quickly": "briskly hastily speedily swiftly",
        "fast": "quick rapid swift",
        "slowly": "calmly lazily leisurely",
        "background": "backdrop canvas floor ground surface table wall wallpaper",
        "beach": "coast dune shore",
        "meadow": "pasture prairie",
        "space": "cosmos universe",
        "night": "midnight",
        "two": "couple few five four many pair several six three",
        "by": "beside near next",
        "over": "above",
        "under": "below beneath underneath",
        "top": "upper",
        "bottom": "lower",
        "place": "corner edge half side",
        "image": "frame screen view",
    }.items()
    for synonym in synonyms.split()
}
"""What a small vocabulary can do for common words that it lacks."""
PLACE_WORDS: Final = frozenset({"center", "centre", "direction", "middle"})
"""Words that only a planner of layouts reads."""


def split_words(prompt: str) -> list[str]:
    """Words of a prompt, in NFKC and case-folded; punctuation separates and is dropped."""
    return _WORD.findall(unicodedata.normalize("NFKC", prompt).casefold())


def known_form(word: str, known: Container[str]) -> str | None:
    """The word itself, else another form of it that is known, else None.

    Other forms are those that English suffixes make: `balls` and `ball`, `bounce`, `bounces` and
    `bouncing`. They are sought among the known words, so nothing else needs to be listed.
    """
    if word in known:
        return word
    if word in _NUMERALS:
        return _NUMERALS[word] if _NUMERALS[word] in known else None
    bases = list(dict.fromkeys(_bases(word)))
    for base in bases:
        if base in known:
            return base
    forms = (form for base in bases for form in _inflected(base))
    return next((form for form in forms if form in known), None)


def synonym_of(word: str, known: Container[str]) -> str | None:
    """The known word that is read in place of one of which no form is known: `boxes` for `cubes`;
    None where none is."""
    if known_form(word, known) is not None:
        return None
    for base in dict.fromkeys(_bases(word)):
        if (synonym := _SYNONYMS.get(base)) is not None:
            suffix = next((one for one in ("s", "ing") if word != base and word.endswith(one)), "")
            forms = [form for form in _inflected(synonym) if suffix and form.endswith(suffix)]
            return next((form for form in (*forms, synonym) if form in known), None)
    return None


def unknown_in(prompt: str, known: Container[str]) -> list[str]:
    """Words of a prompt of which no form and no synonym is known, and that no planner reads, each
    once, in order; the whole of one without any word."""
    found = dict.fromkeys(split_words(prompt) or [prompt.strip()])
    unread = (word for word in found if word and word not in PLACE_WORDS)
    return [word for word in unread if _read_as(word, known) is None]


def with_synonyms(prompt: str, known: Container[str]) -> str:
    """The prompt with `synonym_of` in place of every word that has one."""

    def read(found: re.Match[str]) -> str:
        return synonym_of(found[0].casefold(), known) or found[0]

    return _WORD.sub(read, unicodedata.normalize("NFKC", prompt))


def _read_as(word: str, known: Container[str]) -> str | None:
    return known_form(word, known) or synonym_of(word, known)


def _bases(word: str) -> Iterator[str]:
    """The word and what is left of it without -s, -es, -ing or -ed: at least three letters."""
    yield word
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        yield word[:-1]
        if word.endswith("ies"):
            yield word[:-3] + "y"
        elif word.endswith("es") and len(word) > 4:
            yield word[:-2]
    for suffix in ("ing", "ed"):
        stem = word.removesuffix(suffix)
        if stem == word or len(stem) < 3:
            continue
        yield stem + "e"
        yield stem
        if stem[-1] == stem[-2]:
            yield stem[:-1]


def _inflected(base: str) -> Iterator[str]:
    """A base with -s, -es, -ing and -ed."""
    yield base + "s"
    yield base + "es"
    if base.endswith("y"):
        yield base[:-1] + "ies"
    stem = base.removesuffix("e")
    for suffix in ("ing", "ed"):
        yield stem + suffix
        if stem == base:
            yield stem + stem[-1] + suffix


class WordEncoder(nn.Module):
    """Word embeddings and a few transformer layers: prompts to (B, M, width) and a mask."""

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        self.config = config
        self._ids = {word: _SPECIAL + i for i, word in enumerate(config.words)}
        self.word_embedding = nn.Embedding(_SPECIAL + len(config.words), config.width)
        self.position_embedding = nn.Parameter(torch.randn(config.max_tokens, config.width) * 0.02)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.word_embedding.weight, std=0.5)

    @property
    def feature_dim(self) -> int:
        """Size of its features."""
        return self.config.width

    def unknown_words(self, prompt: str) -> list[str]:
        """`unknown_in` for the words that training met."""
        return unknown_in(prompt, self._ids)

    def synonyms(self, prompt: str) -> dict[str, str]:
        """Words of a prompt of which training met no form, each with the one that it met and that
        is read in its place."""
        pairs = ((word, synonym_of(word, self._ids)) for word in split_words(prompt))
        return {word: synonym for word, synonym in pairs if synonym is not None}

    def with_synonyms(self, prompt: str) -> str:
        """The prompt as it is read, in words that training met where there are some."""
        return with_synonyms(prompt, self._ids)

    def similar_word(self, word: str) -> str | None:
        """Return the known word of three letters or more that is spelt most like another and
        begins with the same letter, None where none is: first letters are seldom misspelt."""
        alike = [one for one in self.config.words if one[:1] == word[:1] and len(one) > 2]
        found = difflib.get_close_matches(word, alike, n=1, cutoff=0.75)
        return found[0] if found else None

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """(B, M) word numbers, zero-padded; every row begins with a begin token."""
        limit = self.config.max_tokens - 1
        rows = [
            [_BEGIN, *(self._number(word) for word in split_words(prompt)[:limit])]
            for prompt in prompts
        ]
        longest = max(len(row) for row in rows)
        device = self.word_embedding.weight.device
        padded = [row + [_PAD] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, device=device)

    def _number(self, word: str) -> int:
        form = _read_as(word, self._ids)
        return _UNKNOWN if form is None else self._ids[form]

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M) -> features (B, M, width), and a mask that is True at real tokens."""
        mask = tokens != _PAD
        x = self.word_embedding(tokens) + self.position_embedding[: tokens.shape[1]]
        looks = mask.unsqueeze(1).expand(-1, tokens.shape[1], -1)
        for layer in self.layers:
            x = layer(x, looks)
        return self.norm(x), mask


@torch.no_grad()
def hand_on_words(
    earlier: WordEncoder, encoder: WordEncoder, synonyms: Mapping[str, Sequence[str]]
) -> None:
    """Fill `encoder` from an earlier one of the same size, whose words are some of its own.

    Words of both keep their rows. One that is new begins with the row of another form of it, else
    with the mean of its synonyms that had one, else as it was drawn.
    """
    state = earlier.state_dict()
    old = state["word_embedding.weight"]
    rows = {word: old[_SPECIAL + index] for index, word in enumerate(earlier.config.words)}
    weight = encoder.word_embedding.weight.detach().clone()
    weight[:_SPECIAL] = old[:_SPECIAL]
    for index, word in enumerate(encoder.config.words, _SPECIAL):
        form = known_form(word, rows)
        kin = [rows[other] for other in synonyms.get(word, ()) if other in rows]
        if form is not None:
            weight[index] = rows[form]
        elif kin:
            weight[index] = torch.stack(kin).float().mean(0)
    encoder.load_state_dict(state | {"word_embedding.weight": weight})


class _Layer(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, config: WordsConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = SelfAttention(config.width, config.head_dim)
        self.feed_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width, 4)

    def forward(self, x: Tensor, looks: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), looks)
        return x + self.feed_forward(self.feed_norm(x))  # type: ignore[no-any-return]
