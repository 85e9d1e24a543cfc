"""The word encoder: words, numbers, padding."""

from __future__ import annotations

import pytest
import torch

from lingen_models.config import WordsConfig
from lingen_models.words import WordEncoder, split_words


@pytest.fixture(scope="module")
def encoder() -> WordEncoder:
    torch.manual_seed(4)
    config = WordsConfig(
        words=("a", "ball", "red", "rolls"), width=8, depth=2, head_dim=4, max_tokens=6
    )
    return WordEncoder(config).requires_grad_(False)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A red ball, rolls!", ["a", "red", "ball", "rolls"]),
        ("snake_case-and 2 dots…", ["snake", "case", "and", "2", "dots"]),
        ("Ärger über Öl", ["ärger", "über", "öl"]),
        (" \t\n", []),
    ],
)
def test_words_of_a_prompt(prompt: str, words: list[str]) -> None:
    assert split_words(prompt) == words


def test_word_numbers(encoder: WordEncoder) -> None:
    tokens = encoder.tokens(["A red ball", "", "purple ball"])
    assert tokens.tolist() == [[1, 3, 5, 4], [1, 0, 0, 0], [1, 2, 4, 0]]


def test_long_prompts_are_cut(encoder: WordEncoder) -> None:
    tokens = encoder.tokens(["red " * 50])
    assert tokens.tolist() == [[1, 5, 5, 5, 5, 5]]
    assert encoder(tokens)[0].shape == (1, 6, 8)


def test_unknown_words_once_and_in_order(encoder: WordEncoder) -> None:
    assert encoder.unknown_words("The red dragon saw the Ball. THE end") == [
        "the",
        "dragon",
        "saw",
        "end",
    ]
    assert encoder.unknown_words("a red ball") == []


def test_a_prompt_does_not_see_the_padding_of_its_batch(encoder: WordEncoder) -> None:
    together, mask = encoder(encoder.tokens(["red", "a red ball rolls"]))
    alone, _ = encoder(encoder.tokens(["red"]))
    assert mask.tolist() == [[True, True, False, False, False], [True] * 5]
    torch.testing.assert_close(together[:1, :2], alone)


def test_order_matters(encoder: WordEncoder) -> None:
    one, _ = encoder(encoder.tokens(["red ball"]))
    other, _ = encoder(encoder.tokens(["ball red"]))
    assert not torch.allclose(one[:, 0], other[:, 0])
