"""The word encoder: words, numbers, padding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lingen_models
from lingen_models.checkpoints.safetensors import load_network, read_metadata
from lingen_models.network_config import WordsConfig
from lingen_models.networks.word_encoder import (
    WordEncoder,
    hand_on_words,
    known_form,
    split_words,
    synonym_of,
    with_synonyms,
)
from lingen_playground import vocabulary
from lingen_playground.captions.lexicon import plain_vocabulary, synonyms


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
        ("\uff52\uff45\uff44 \ufb02ag STRASSE Stra\u00dfe", ["red", "flag", "strasse", "strasse"]),
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


@pytest.mark.parametrize(
    ("word", "form"),
    [
        ("ball", "ball"),
        ("balls", "ball"),
        ("boxes", "box"),
        ("skies", "sky"),
        ("fly", "flies"),
        ("bounce", "bounces"),
        ("bounced", "bounces"),
        ("hop", "hopping"),
        ("spins", "spin"),
        ("zigzagged", "zigzag"),
        ("rings", "ring"),
        ("gliding", "glide"),
        ("2", "two"),
        ("1", None),
        ("hope", None),
        ("string", None),
        ("bus", None),
        ("red", None),
    ],
)
def test_other_forms_of_known_words(word: str, form: str | None) -> None:
    known = [
        "ball",
        "bounces",
        "box",
        "flies",
        "glide",
        "hopping",
        "ring",
        "sky",
        "spin",
        "two",
        "zigzag",
    ]
    assert known_form(word, known) == form


def test_every_word_of_a_list_is_its_own_form() -> None:
    assert all(known_form(word, vocabulary()) == word for word in vocabulary())


SHIPPED = (
    Path(lingen_models.__file__).parent / "weights" / "lingen-mini" / "text_encoder.safetensors"
)


@pytest.fixture(scope="module")
def shipped() -> WordEncoder:
    words = WordEncoder(WordsConfig.from_dict(read_metadata(SHIPPED)["config"]))
    load_network(SHIPPED, words)
    return words.requires_grad_(False)


def test_shipped_weights_know_other_forms_of_their_words(shipped: WordEncoder) -> None:
    assert shipped.config.words == vocabulary()
    assert shipped.unknown_words("Two red balls bounce. 2 stars!") == []
    known = ("two bouncing reds", "a large star spins on a green lawn")
    assert shipped.unknown_words("reds") == []
    assert shipped.tokens(["two bouncing red"]).equal(shipped.tokens(known[:1]))
    numbers = [3 + shipped.config.words.index(word) for word in known[1].split()]
    assert shipped.tokens(known[1:]).tolist() == [[1, *numbers]]


def test_words_are_handed_on() -> None:
    torch.manual_seed(1)
    shipped = WordEncoder(WordsConfig(words=plain_vocabulary())).requires_grad_(False)
    longer = WordEncoder(WordsConfig(words=vocabulary())).requires_grad_(False)
    drawn = longer.word_embedding.weight.clone()
    hand_on_words(shipped, longer, synonyms())
    prompts = ["", "a red ball bounces on green grass", "a scarlet hoop spins, dragon", "two balls"]
    for prompt in prompts[:3]:
        before, _ = shipped(shipped.tokens([prompt]))
        after, _ = longer(longer.tokens([prompt]))
        assert torch.equal(before, after)
    # Forms take the row of their word, other words the mean of their synonyms, else their own.
    both = [one(one.tokens(prompts[3:]))[0] for one in (shipped, longer)]
    assert torch.equal(*both)
    row = {word: longer.word_embedding.weight[3 + i] for i, word in enumerate(vocabulary())}
    torch.testing.assert_close(row["crimson"], (row["red"] + row["scarlet"]) / 2)
    assert torch.equal(row["very"], drawn[3 + vocabulary().index("very")])


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("A blue CUBE spins, on a white wall!", "A blue box spins, on a white background!"),
        ("two cubes running", "two boxes moving"),
        ("a golden heart beats", "a yellow heart pulses"),
        ("three balls in the middle of the screen", "two balls in the middle of the image"),
        ("a wizard", "a wizard"),
    ],
)
def test_synonyms_are_read_as_words_that_are_known(
    shipped: WordEncoder, prompt: str, read: str
) -> None:
    assert shipped.with_synonyms(prompt) == read
    assert shipped.tokens([prompt]).equal(shipped.tokens([read]))
    assert shipped.unknown_words(prompt) == shipped.unknown_words(read)


def test_words_that_planners_read_are_not_unknown(shipped: WordEncoder) -> None:
    assert shipped.unknown_words("a cat in the middle, at the center") == ["cat"]


def test_a_word_that_is_known_has_no_synonym(encoder: WordEncoder) -> None:
    assert synonym_of("gold", {"yellow"}) == "yellow"
    assert synonym_of("gold", {"yellow", "golds"}) is None
    assert synonym_of("gold", {"green"}) is None
    assert with_synonyms("gold balloons", {"gold", "ball"}) == "gold ball"
    assert encoder.synonyms("a red balloon") == {"balloon": "ball"}
