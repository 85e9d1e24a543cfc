"""The documentation names what is there: commands, options, settings, codes, stages, links."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from lingen_cli import errors
from lingen_cli.app import app
from lingen_cli.inputs.settings import Settings
from lingen_models.networks.word_encoder import unknown_in
from lingen_models.sampling import params as sampling
from lingen_playground import vocabulary

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = typer.main.get_group(app).commands


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next of the same level."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def options(command: Any) -> set[str]:
    """Every way to write every option of a command, apart from --help."""
    found = [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden
    ]
    names = {name for one in found for name in (*one.opts, *one.secondary_opts)}
    return names - {"--help"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_is_documented(name: str) -> None:
    text = section(read("docs/cli.md"), f"lingen {name}")
    if "](#lingen-generate)" in text:
        text += section(read("docs/cli.md"), "lingen generate")
    if "](#sampling-options)" in text:
        text += section(read("docs/cli.md"), "Sampling options")
    command = COMMANDS[name]
    for sub, inner in getattr(command, "commands", {}).items():
        assert f"`lingen {name} {sub}" in text
        for option in options(inner):
            assert f"`{option}`" in text, (sub, option)
    for option in options(command):
        assert f"`{option}`" in text, option


def test_no_option_is_documented_that_does_not_exist() -> None:
    for name, command in COMMANDS.items():
        known = {"--help"} | options(command)
        for inner in getattr(command, "commands", {}).values():
            known |= options(inner)
        text = section(read("docs/cli.md"), f"lingen {name}")
        first_cells = re.findall(r"^\| (`-[^|]*) \|", text, re.MULTILINE)
        for option in re.findall(r"`(--?[a-z-]+)`", " ".join(first_cells)):
            assert option in known, (name, option)


def test_every_setting_is_documented() -> None:
    text = section(read("docs/cli.md"), "Settings")
    general = [name for name in Settings.model_fields if name not in sampling.options()]
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == general
    assert "](#sampling-options) are keys, too" in text


def test_the_table_of_sampling_options_is_that_of_their_record() -> None:
    rows = ["| option | setting | default | |", "|---|---|---|---|"]
    for option, name in sampling.options().items():
        param, flag = sampling.described()[name], option.replace("_", "-")
        flags = f"`--{flag}`"
        if sampling.types()[name] is bool:
            flags += f", `--no-{flag}`"
        rows.append(f"| {flags} | `{option}` | {param.default} | {param.help} |")
    text = section(read("docs/cli.md"), "Sampling options")
    assert text.split(" a test compares -->\n")[1].split("<!-- end")[0] == "\n".join(rows) + "\n"


def test_every_exit_code_is_documented() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", read("docs/exit-codes.md"), re.M)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.LingenError)}
    assert told == codes | {0, errors.INTERRUPTED, errors.TERMINATED}


def test_every_stage_of_the_recipe_is_documented() -> None:
    text = section(read("docs/training-mini.md"), "Stages")
    for stage in tomllib.loads(read("training/lingen_training/recipes/lingen-mini.toml"))["stage"]:
        assert f"| `{stage['name']}` |" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)#]+)\)", text):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


def test_sections_that_the_code_cites_are_there() -> None:
    sources = [
        path
        for name in ("lingen_cli", "models", "training")
        for path in (ROOT / name).rglob("*.py")
    ]
    pages = {name: read(f"docs/{name}.md") for name in ("paper", "media", "reliability")}
    cited = 0
    for path in sources:
        text = path.read_text(encoding="utf-8")
        for name, numbers in re.findall(
            r"\b(paper|media|reliability)\.md ([C\d.]+(?:, [C\d.]+)*)", text
        ):
            for number in numbers.split(", "):
                start = rf"^(?:#+|-) {re.escape(number.rstrip('.'))}\b"
                assert re.search(start, pages[name], re.MULTILINE), (path, name, number)
                cited += 1
    assert cited > 20


def test_the_readme_opens_with_an_image_and_two_commands() -> None:
    text = read("README.md")
    assert text.startswith("![")
    commands = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    assert commands[:2] == [
        "pip install torch==2.13.0 && pip install . && "
        'lingen generate "a red ball bounces on green grass" --minutes 1',
        "pip install -e '.[dev]' && pytest",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_the_pages_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^    lingen (.*)$", text, re.MULTILINE):
        name, *words = [word.strip("[]") for word in shlex.split(line)]
        if name == "COMMAND" or name.startswith("-"):
            continue
        command = COMMANDS[name]
        command = getattr(command, "commands", {}).get(words[0] if words else "", command)
        used = {word for word in words if re.fullmatch(r"--?[a-z-]+", word)}
        known = options(command) | (options(COMMANDS["generate"]) if name == "plan" else set())
        assert used <= known | {"--help"}, line


def test_the_readme_lists_words_that_the_model_met() -> None:
    table = read("README.md").split("| a prompt may say |", 1)[1].split("\n\n", 1)[0]
    cells = [row.split("|")[2] for row in table.splitlines()[2:]]
    assert len(cells) == 9
    assert unknown_in(" ".join(cells), vocabulary()) == []
