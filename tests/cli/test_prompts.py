import pytest

from lingen_cli.errors import InvalidOptionError
from lingen_cli.inputs.prompts import MAX_CHARACTERS, check_prompt
from lingen_models.sampling.params import MAX_PROMPT_CHARACTERS


def test_good_prompts_keep_their_words() -> None:
    assert check_prompt("  a red ball ") == "a red ball"
    assert check_prompt("ein grüner Bär 🐻 \N{ZERO WIDTH JOINER}") != ""
    assert check_prompt("x" * MAX_CHARACTERS) == "x" * MAX_CHARACTERS
    assert check_prompt("", may_be_empty=True) == ""


@pytest.mark.parametrize("blank", ["\n", "\r\n", "\t", "\r", "\n\n", "\v", "\f", "\x85"])
def test_line_ends_and_tabs_are_spaces(blank: str) -> None:
    assert check_prompt(f"a red ball{blank}bounces{blank}") == "a red ball bounces"


def test_exact_prompts_stay_as_they_are() -> None:
    text = "a red ball\r\n\n\tbounces \n"
    assert check_prompt(text, exact=True) == text
    long = "x\n" * (MAX_PROMPT_CHARACTERS // 2)
    assert check_prompt(long, exact=True) == long
    with pytest.raises(InvalidOptionError, match="has 10001 characters; at most 10000 are read"):
        check_prompt(long + "x", exact=True)
    with pytest.raises(InvalidOptionError, match="prompt is empty"):
        check_prompt("\n", exact=True)
    with pytest.raises(InvalidOptionError, match=r"U\+001B\) at position 12"):
        check_prompt("a red ball\n\x1b[31m", exact=True)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "prompt is empty"),
        (" \t\n", "prompt is empty"),
        ("x" * (MAX_CHARACTERS + 1), "has 2001 characters; at most 2000"),
        ("red\x1b[31m ball", r"control character \(U\+001B\) at position 4"),
        ("nul\0", r"U\+0000"),
        ("not utf-8 \udcff", r"U\+DCFF"),
    ],
)
def test_bad_prompts_say_what_is_wrong(prompt: str, message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        check_prompt(prompt)
