"""Reading job lists: four forms, and what is wrong with a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lingen_cli.batch.job_list import Line, read_jobs
from lingen_cli.errors import BadDataError


def read(folder: Path, name: str, content: str | bytes) -> list[Line]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_jobs(path)


def values(lines: list[Line]) -> list[tuple[int, int, dict[str, object]]]:
    assert all(line.problem is None for line in lines)
    return [(line.index, line.number, dict(line.values)) for line in lines]


def test_a_prompt_a_line(tmp_path: Path) -> None:
    text = "\ufeffa red ball\r\n\n# a remark\n  a blue star \u2028 here\n"
    assert values(read(tmp_path, "a.txt", text)) == [
        (1, 1, {"prompt": "a red ball"}),
        (2, 4, {"prompt": "a blue star \u2028 here"}),
    ]


def test_json_lines(tmp_path: Path) -> None:
    text = '{"prompt": "a red ball", "seconds": 2}\n\n[1]\n{"prompt"\n{"seed": 7}'
    lines = read(tmp_path, "a.jsonl", text)
    assert [line.number for line in lines] == [1, 3, 4, 5]
    assert lines[0].values == {"prompt": "a red ball", "seconds": 2}
    assert lines[1].problem == "not a JSON object"
    assert lines[2].problem is not None and lines[2].problem.startswith("not JSON")
    assert lines[3].values == {"seed": 7}


def test_csv(tmp_path: Path) -> None:
    text = 'prompt,seed\n"a red ball, or\ntwo",7\n,\na star,\na heart,1,2\n'
    lines = read(tmp_path, "a.csv", text)
    assert [line.number for line in lines] == [2, 5, 6]
    assert lines[0].values == {"prompt": "a red ball, or\ntwo", "seed": "7"}
    assert lines[1].values == {"prompt": "a star"}
    assert lines[2].problem == "3 cells under 2 columns"


def test_toml(tmp_path: Path) -> None:
    text = (
        'seconds = 2\n\n[[job]]\nprompt = "a red ball"\n\n[[job]]\nprompt = "a star"\nseconds = 3\n'
    )
    assert values(read(tmp_path, "a.toml", text)) == [
        (1, 3, {"seconds": 2, "prompt": "a red ball"}),
        (2, 6, {"seconds": 3, "prompt": "a star"}),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "\n# nothing\n", "no jobs in it"),
        ("a.txt", b"good\nb\xe4d\n", "a.txt:2: not valid UTF-8: save it as UTF-8"),
        ("a.doc", "a red ball", "a job list ends in .csv, .json, .jsonl, .toml, .txt"),
        ("a.csv", "prompt,prompt\n1,2\n", "every column needs a name of its own"),
        ("a.csv", 'prompt\n"open', "a.csv:2"),
        ("a.toml", "job = 3\n", "a job is a [[job]]"),
        ("a.toml", "[[job]\n", "not valid TOML"),
        ("a.toml", "[other]\nx = 1\n", "a job is a [[job]]"),
    ],
)
def test_what_is_no_list(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(BadDataError) as caught:
        read(tmp_path, name, content)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_control_characters_and_endless_lines(tmp_path: Path) -> None:
    lines = read(tmp_path, "a.txt", "a\x1b[31mred ball\na ball\n" + "x" * 300_000)
    problems = [line.problem for line in lines]
    assert problems == ["control characters", None, "longer than 256 kB"]
