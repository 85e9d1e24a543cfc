import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from lingen_cli.commands.show import show
from lingen_cli.errors import BadDataError, InvalidOptionError, OutputExistsError
from lingen_cli.media.images.image_files import read_image
from lingen_cli.media.metadata import recipe_tags

Make = Callable[..., Path]
RECIPE: dict[str, object] = {"prompt": "a red ball [bold]\x1b[2J", "seed": 7, "steps": [1, 2]}

app = typer.Typer()
app.command()(show)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def ours(make_video: Make) -> Path:
    return make_video(frames=32, metadata=recipe_tags(RECIPE))


def test_prints_the_recipe_and_the_facts(ours: Path) -> None:
    said = run(ours)
    for words in ("64 x 48", "16 per second", "2.000 s", "h264", "32"):
        assert words in said
    assert "a red ball [bold]\\x1b[2J" in said
    assert "\x1b" not in said
    assert "[1, 2]" in said


def test_foreign_videos_are_shown_too(make_video: Make) -> None:
    said = run(make_video())
    assert "64 x 48" in said
    assert said.endswith("no lingen recipe\n")


def test_json_is_one_object(ours: Path, make_video: Make) -> None:
    found = json.loads(run(ours, "--json"))
    assert found["recipe"] == RECIPE
    assert found["video"] == {
        "width": 64, "height": 48, "fps": 16.0, "frames": 32, "seconds": 2.0,
        "rotation": 0, "codec": "h264",
        "sound": None,
    }  # fmt: skip
    assert json.loads(run(make_video("b.mp4"), "--json"))["recipe"] is None


def test_json_of_a_name_with_line_breaks_is_one_line(make_video: Make) -> None:
    path = make_video(os.fsdecode(b"a\nb\xff.mp4"))
    said = run(path, "--json")
    assert said.count("\n") == 1
    assert json.loads(said)["path"] == str(path)


def test_sheet_is_an_image_of_the_frames(ours: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    assert f"contact sheet: {target}\n" in run(ours, "--sheet", target, "--frames", 6).replace(
        "\n" + str(target), " " + str(target)
    )
    image = read_image(target)
    blue = (np.abs(image.astype(int) - (30, 60, 120)).max(-1) <= 6).sum()
    assert blue > 6 * 64 * 48 * 0.7
    assert image.shape[1] == 3 * 68 + 4
    assert sorted(os.listdir(tmp_path)) == ["sheet.png", "video.mp4"]


def test_sheet_never_overwrites_unasked(ours: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    target.write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        run(ours, "--sheet", target)
    assert target.read_bytes() == b"mine"
    run(ours, "--sheet", target, "--overwrite")
    assert read_image(target).ndim == 3


def test_more_frames_than_the_video_has(make_video: Make, tmp_path: Path) -> None:
    run(make_video(frames=1), "--sheet", tmp_path / "s.png", "--frames", 64)
    assert read_image(tmp_path / "s.png").shape[1] == 64 + 8


def test_bad_calls(ours: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match=r"must end in \.png"):
        run(ours, "--sheet", tmp_path / "sheet.jpg")
    for count in ("0", "65"):
        assert CliRunner().invoke(app, [str(ours), "--frames", count]).exit_code == 2
    (tmp_path / "x.mp4").write_bytes(b"text")
    with pytest.raises(BadDataError, match="not a supported video file"):
        run(tmp_path / "x.mp4", "--sheet", tmp_path / "never.png")
    assert not (tmp_path / "never.png").exists()


def test_a_terminal_gets_an_image(ours: Path) -> None:
    code = "import sys, typer; from lingen_cli.commands.show import show; typer.run(show)"
    ours_end, their_end = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    environment.pop("NO_COLOR", None)
    child = subprocess.Popen(
        [sys.executable, "-c", code, ours],
        stdout=their_end,
        env={**environment, "COLUMNS": "60", "LINES": "30"},
    )
    os.close(their_end)
    said = b""
    while True:
        try:
            part = os.read(ours_end, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        said += part
    os.close(ours_end)
    assert child.wait() == 0
    assert said.decode().count("▀") > 300
    assert b"\x1b[38;2;" in said


def test_nothing_slow_is_imported_before_it_is_needed() -> None:
    code = "import sys, lingen_cli.commands.show; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"av", "numpy", "torch", "filelock"} & set(done.stdout.split())


def test_no_torch_anywhere_in_media(ours: Path) -> None:
    code = (
        "import sys; from lingen_cli.commands.show import show; from pathlib import Path;"
        "show([Path(sys.argv[1])], Path(sys.argv[2]), False, 4);"
        "assert 'torch' not in sys.modules"
    )
    sheet = str(ours.with_suffix(".png"))
    subprocess.run([sys.executable, "-c", code, str(ours), sheet], check=True, capture_output=True)


def test_what_people_look_for_comes_first(ours: Path) -> None:
    lines = run(ours).splitlines()
    keys = [line.split("  ")[0] for line in lines]
    assert keys[:4] == ["file", "prompt", "seed", "made again by"]
    assert lines[3].endswith(f"lingen rerun {ours}")
    assert not any(key.startswith("recipe:") for key in keys)
    more = run(ours, "--verbose").splitlines()
    assert [line.split("  ")[0] for line in more if line.startswith("recipe:")] == [
        "recipe: prompt",
        "recipe: seed",
        "recipe: steps",
    ]


def test_many_videos_are_shown_and_bad_ones_told(
    ours: Path, make_video: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from lingen_cli.app import run as lingen

    bad, other = tmp_path / "bad.mp4", make_video("other.mp4")
    bad.write_bytes(b"text")
    assert lingen(["show", str(bad), str(ours), str(other)]) == 65
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.startswith("file")] == [
        f"file           {ours}",
        f"file        {other}",
    ]
    assert f"{bad}: not a supported video file: {bad}" in err
    assert err.splitlines()[-1] == "lingen: error: 1 of 3 videos cannot be read"
    assert lingen(["show", "--json", str(ours), str(other)]) == 0
    paths = [json.loads(line)["path"] for line in capsys.readouterr().out.splitlines()]
    assert paths == [str(ours), str(other)]
    with pytest.raises(InvalidOptionError, match="--sheet is for one video"):
        run(ours, other, "--sheet", tmp_path / "s.png")
