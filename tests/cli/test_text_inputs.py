"""Text that people write elsewhere: lists from spreadsheets, settings from editors, shells."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.batch.job_list import read_jobs
from lingen_cli.errors import BadDataError
from lingen_cli.files.names import free_names
from lingen_cli.inputs.request import GenerateRequest
from lingen_cli.inputs.request_options import parse_request
from lingen_cli.inputs.settings import load, user_file
from lingen_training.training_recipe import RecipeError, read_recipe
from tests.cli.protocols import Fails, RunHere

BOM = b"\xef\xbb\xbf"
LONG = "9" * 5000


def jobs(name: str, data: Any) -> Any:
    Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_jobs(Path(name))


@pytest.fixture(autouse=True)
def _in_empty_folder(clean_environment: Path) -> None:
    pass


# Lists


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("prompt;seconds;guidance\r\na red ball;1;2\r\na blue ball;1,5;2,5\r\n", "1.5"),
        ("Prompt,SECONDS,Guidance\r\na red ball,1,2\r\na blue ball,1.5,2.5\r\n", "1.5"),
        ("prompt\tseconds\tguidance\na red ball\t1\t2\na blue ball\t1,5\t2,5\n", "1.5"),
        (" Prompt , seconds , guidance \ra red ball,1,2\ra blue ball,1.5,2.5\r", "1.5"),
    ],
)
def test_tables_of_spreadsheets(text: str, number: str) -> None:
    first, second = jobs("a.csv", text)
    assert first.values == {"prompt": "a red ball", "seconds": "1", "guidance": "2"}
    assert second.values == {"prompt": "a blue ball", "seconds": number, "guidance": "2.5"}
    assert (first.number, second.number) == (2, 3)


def test_commas_that_are_no_decimal_point_stay() -> None:
    (line,) = jobs("a.csv", "prompt;guidance_interval;negative\n1,5 balls;0,1;1,5\n")
    assert line.values == {"prompt": "1,5 balls", "guidance_interval": "0,1", "negative": "1,5"}


@pytest.mark.parametrize("text", ["TRUE", "True", "true", "yes", "1", 1, True, "on"])
def test_true(text: Any) -> None:
    values = {"prompt": "a red ball", "save_memory": text}
    request = parse_request("generate", values)
    assert isinstance(request, GenerateRequest) and request.save_memory is True


@pytest.mark.parametrize("text", ["FALSE", "False", "no", "0", 0, False, "OFF"])
def test_false(text: Any) -> None:
    values = {"prompt": "a red ball", "save_memory": text}
    request = parse_request("generate", values)
    assert isinstance(request, GenerateRequest) and request.save_memory is False


def test_neither_true_nor_false() -> None:
    with pytest.raises(BadDataError, match="save_memory must be true or false, not 'maybe'"):
        parse_request("generate", {"prompt": "a red ball", "save_memory": "maybe"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(encoding: str, end: str) -> None:
    marks = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
    text = f"ein grüner Ball{end}# nothing{end}a red ball{end}"
    lines = jobs("a.txt", marks.get(encoding, b"") + text.encode(encoding))
    assert [(one.number, one.values["prompt"]) for one in lines] == [
        (1, "ein grüner Ball"),
        (3, "a red ball"),
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_json_array(name: str) -> None:
    lines = jobs(name, '[\n{"prompt": "a red ball"},\n\n{"prompt":\n "a star"}\n]\n')
    assert [(one.number, one.values["prompt"]) for one in lines] == [
        (2, "a red ball"),
        (4, "a star"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"prompt": "a"}\n{"prompt": "b"}]', "a.json:3: not JSON: a comma or ] is missing"),
        ('[{"prompt": "a"},\n{"prompt": }]', "a.json:2: not JSON"),
        ('[{"prompt": "a"}]\nmore', "a.json:1: not JSON: something follows"),
        ("[]", "no jobs in it"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_array(text: str, message: str) -> None:
    with pytest.raises(BadDataError) as caught:
        jobs("a.json", text)
    assert message in str(caught.value)


def test_a_number_in_an_array_is_no_job() -> None:
    first, second = jobs("a.json", '[3, {"prompt": "a"}]')
    assert first.problem == "not a JSON object" and second.problem is None


def test_paths_of_a_list_are_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("lists").mkdir()
    for name in ("lists/both.mp4", "lists/beside.mp4", "here.mp4", "both.mp4"):
        Path(name).touch()
    Path("~").mkdir()
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    names = ("beside.mp4", "both.mp4", "here.mp4", "none.mp4", "~/a.mp4", "/abs.mp4")
    videos = [{"video": name} for name in names]
    lines = jobs("lists/a.jsonl", "\n".join(map(json.dumps, videos)))
    requests: list[Any] = [parse_request("extend", row, lines[0].folder) for row in videos]
    found = [request.video for request in requests]
    expected = ["lists/beside.mp4", "lists/both.mp4", "here.mp4", "none.mp4"]
    assert found == [*map(Path, expected), Path("home/a.mp4").absolute(), Path("/abs.mp4")]


def test_output_folders_of_a_list_are_made(lingen_here: RunHere, tiny_weights: Path) -> None:
    line = {"prompt": "a red ball", "seconds": 0.5, "steps": 1, "weights": str(tiny_weights)}
    jobs("sub.jsonl", json.dumps(line | {"output": "shots/scene1/a.mp4"}))
    assert lingen_here("batch", "sub.jsonl", "--check").returncode == 0
    assert not Path("sub").exists()
    result = lingen_here("batch", "sub.jsonl")
    assert result.returncode == 0, result.stderr
    assert Path("sub/shots/scene1/a.mp4").is_file()
    assert lingen_here("batch", "sub.jsonl", "--check").returncode == 0  # it is made already


def test_check_says_what_the_run_would(
    lingen_here: RunHere, fails: Fails, tiny_weights: Path
) -> None:
    line = {"prompt": "a red ball", "seconds": 0.5, "steps": 1, "weights": str(tiny_weights)}
    text = "\n".join(
        json.dumps(line | {"output": name}) for name in ("file/a.mp4", "b.mp4", "good.mp4")
    )
    jobs("sub.jsonl", text)
    Path("sub").mkdir()
    Path("sub/file").touch()
    Path("sub/b.mp4").write_bytes(b"somebody's")
    result = lingen_here("batch", "sub.jsonl", "--check")
    fails(result, 65, "2 of 3 lines cannot be made")
    assert "sub.jsonl:1: not a folder: sub/file" in result.stderr
    assert "sub.jsonl:2: output already exists" in result.stderr


# TOML


def test_a_byte_order_mark_in_every_toml_file(lingen_here: RunHere) -> None:
    Path("lingen.toml").write_bytes(BOM + b"steps = 3\r\n")
    values: Any = load().values
    assert values.steps == 3
    Path("story.toml").write_bytes(BOM + b'[[shot]]\r\nprompt = "a red ball"\r\nseconds = 1\r\n')
    assert lingen_here("story", "check", "story.toml").returncode == 0
    assert jobs("jobs.toml", BOM + b'[[job]]\r\nprompt = "a"\r\n')[0].values == {"prompt": "a"}
    Path("recipe.toml").write_bytes(BOM + b"[data]\nx = 1\n")
    with pytest.raises(RecipeError, match="unknown key"):
        read_recipe(Path("recipe.toml"))


def test_numbers_with_thousands_of_digits(lingen_here: RunHere, fails: Fails) -> None:
    Path("lingen.toml").write_text(f"crf = 18\nsteps = {LONG}\n")
    fails(lingen_here("config", "show"), 78, "lingen.toml:2: not valid TOML")
    Path("lingen.toml").unlink()
    Path("story.toml").write_text(f'[[shot]]\nprompt = "a"\nseconds = {LONG}\n')
    fails(lingen_here("story", "check", "story.toml"), 65, "story.toml:3: not valid TOML")
    Path("jobs.toml").write_text(f'[[job]]\nprompt = "a"\nseed = {LONG}\n')
    fails(lingen_here("batch", "jobs.toml"), 65, "jobs.toml:3: not valid TOML")
    Path("recipe.toml").write_text(f"\nseed = {LONG}\n")
    fails(lingen_here("train", "recipe.toml", "-o", "out"), 65, "recipe.toml:2: not valid TOML")


# Settings


@pytest.mark.parametrize("name", ["STEPS", "FPS", "DEVICE", "PREVIEW", "WEIGHTS", "SEED", "SIZE"])
def test_empty_variables_are_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    expected = load()
    for empty in ("", "  "):
        monkeypatch.setenv(f"LINGEN_{name}", empty)
        assert load() == expected


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without HOME, whose uid has no entry in passwd."""

    def unknown(uid: Any) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in [name for name in os.environ if name.startswith("XDG_") or name == "HOME"]:
        monkeypatch.delenv(name)
    with pytest.raises(RuntimeError):
        Path.home()


def test_a_user_without_a_home(
    nobody: None, lingen_here: RunHere, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ("config show", "cache list", "cache prune", "models list"):
        result = lingen_here(*words.split())
        assert result.returncode == 0, result.stderr
    assert "no home folder" in lingen_here("config", "path").stdout
    assert lingen_here("cache", "path").returncode == 66
    new = ("a red ball", "--seconds", "0.5", "--steps", "1", "--weights", tiny_weights)
    result = lingen_here("generate", *new, "-o", "a.mp4")
    assert result.returncode == 0, result.stderr
    assert "not kept" not in result.stderr
    result = lingen_here("extend", "a.mp4", "--seconds", "0.5", "-o", "longer.mp4")
    assert result.returncode == 0, result.stderr
    monkeypatch.setenv("LINGEN_CACHE_DIR", "cache")
    result = lingen_here("generate", *new, "-o", "b.mp4")
    assert result.returncode == 0, result.stderr
    assert len(list(Path("cache").iterdir())) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else for a moment")
def test_a_home_that_cannot_be_read(
    lingen_here: RunHere, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = clean_environment / "home"
    home.mkdir(mode=0o700)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(home))
    for arguments in (("config", "show"), ("config", "path"), ("cache", "list")):
        assert lingen_here(*arguments).returncode == 0  # everything is imported
        os.seteuid(23456)
        try:
            result = lingen_here(*arguments)
        finally:
            os.seteuid(0)
        assert result.returncode == 0, result.stderr


def test_a_seed_of_minus_one_is_random(lingen_here: RunHere, tiny_weights: Path) -> None:
    from lingen_cli.requests.edits import Added
    from lingen_cli.requests.recipe import recipe_from_video

    file = user_file()
    assert file is not None
    file.parent.mkdir(parents=True)
    file.write_text("seed = 5\n")
    new = ("a red ball", "--seconds", "0.5", "--steps", "1", "--weights", tiny_weights)
    seeds = set()
    for name, more in (("a.mp4", ()), ("b.mp4", ("--seed", "-1")), ("c.mp4", ("--seed", "-1"))):
        result = lingen_here("generate", *new, *more, "-o", name)
        assert result.returncode == 0, result.stderr
        seeds.add(recipe_from_video(Path(name)).sampling.seed)
    assert 5 in seeds and len(seeds) == 3
    result = lingen_here("extend", "a.mp4", "--seconds", "0.5", "--seed", "-1", "-o", "d.mp4")
    assert result.returncode == 0, result.stderr
    (edit,) = recipe_from_video(Path("d.mp4")).edits
    assert isinstance(edit, Added)
    assert edit.sampling.seed not in seeds


def test_other_negative_seeds_are_refused(lingen_here: RunHere, fails: Fails) -> None:
    fails(lingen_here("generate", "a red ball", "--seed", "-2"), 2, "--seed must be")


# Prompts and names


@pytest.mark.parametrize("prompt", ["a red ball\r", "a red ball\r\n", "a\tred\nball"])
def test_prompts_of_several_lines(lingen_here: RunHere, tiny_weights: Path, prompt: str) -> None:
    from lingen_cli.requests.recipe import recipe_from_video

    new = ("--seconds", "0.5", "--steps", "1", "--weights", tiny_weights)
    negative = ("--negative", "blurry\nlow quality")
    result = lingen_here("generate", prompt, *negative, *new, "-o", "a.mp4")
    assert result.returncode == 0, result.stderr
    recipe = recipe_from_video(Path("a.mp4"))
    assert recipe.prompt == "a red ball"
    assert recipe.sampling.negative_prompt == "blurry low quality"


@pytest.mark.parametrize("prompt", ["🔴⚽️ 🌱", "???", "一只红球", "zxqv wvut"])
def test_a_prompt_of_which_nothing_is_known(lingen_here: RunHere, prompt: str) -> None:
    new = ("--seconds", "0.5", "--steps", "1", "-o", "a.mp4")
    result = lingen_here("generate", prompt, *new)
    assert result.returncode == 0, result.stderr
    assert "lingen-mini knows none of the words that say what is shown" in result.stderr


def test_a_prompt_of_which_something_is_known(lingen_here: RunHere) -> None:
    result = lingen_here(
        "generate", "a red zxqv", "--seconds", "0.5", "--steps", "1", "-o", "a.mp4"
    )
    assert result.returncode == 0, result.stderr
    assert "knows none" not in result.stderr and "'zxqv'" in result.stderr


@pytest.mark.parametrize("stem", ["n" * 250, "é" * 124, "n" * 255, "😀" * 63])
def test_long_names_are_shortened(stem: str) -> None:
    names = free_names(Path(), f"{stem}-longer")
    first = next(names)
    assert len(os.fsencode(first.name)) <= 255
    first.touch()
    assert next(names).name == first.name.replace(".mp4", "-2.mp4")
    assert next(free_names(Path(), f"{stem}-again")) != first
    assert next(free_names(Path(), "short-longer")) == Path("short-longer.mp4")


def test_a_video_with_a_long_name_is_extended(
    ffmpeg: Callable[..., subprocess.CompletedProcess[bytes]],
    lingen_here: RunHere,
    tiny_weights: Path,
) -> None:
    name = "n" * 250 + ".mp4"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc=s=64x64:r=16:d=1",
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        name,
    )
    new = ("--prompt", "a red ball", "--seconds", "0.5", "--steps", "1", "--weights", tiny_weights)
    result = lingen_here("extend", name, *new)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_file()
