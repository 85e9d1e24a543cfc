"""Names that were probably meant."""

import pytest

from lingen_models.spelling import did_you_mean, nearest

NAMES = ("lingen-mini", "lingen-mini-4step", "lingen-4b", "dit-mini", "wan-1.3b")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("lingen", "lingen-mini"),  # the first that it begins
        ("lingen-mimi", "lingen-mini"),
        ("WAN", "wan-1.3b"),
        ("li", None),  # too short to say
        ("sora", None),
    ],
)
def test_the_nearest_name(name: str, near: str | None) -> None:
    assert nearest(name, NAMES) == near


def test_without_a_near_one_all_are_named() -> None:
    assert did_you_mean("sora", ("a", "b")) == "known: a, b"
    assert did_you_mean("sora", ()) == "known: none"
    assert did_you_mean("promt", ("prompt", "seconds")) == "did you mean 'prompt'?"
    assert did_you_mean("end", ("prompt", "seconds")) == "known: prompt, seconds"


@pytest.mark.parametrize(
    ("word", "near"),
    [("bal", "ball"), ("bleu", "blue"), ("cat", None), ("dog", None), ("forest", None)],
)
def test_similar_words_begin_alike(word: str, near: str | None) -> None:
    from lingen_models.network_config import WordsConfig
    from lingen_models.networks.word_encoder import WordEncoder

    known = ("ball", "blue", "at", "do", "rest", "a")
    encoder = WordEncoder(WordsConfig(words=known, width=64, head_dim=16))
    assert encoder.similar_word(word) == near
