"""`lingen gallery`: what is on the page, and what a browser makes of it."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.cli.browser import browsed
from tests.cli.protocols import Fails, RunHere

PROMPT = 'a <b>red</b> & "ball" </script><script>document.title="taken over"</script>'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """Two videos of one prompt, one of another in a folder below, one from elsewhere, a broken one,
    and what is no video."""
    import av
    import numpy as np

    from lingen_cli.app import run

    folder = tmp_path_factory.mktemp("gallery")
    (folder / "more #1").mkdir()
    for name, prompt, seed in (
        ("one.mp4", PROMPT, 1),
        ("two.mp4", PROMPT, 2),
        ("more #1/star.mp4", "a star", 3),
    ):
        arguments = ["generate", prompt, "--weights", tiny_weights, "--size", "32", "--frames", "9"]
        more = ["--steps", "1", "--seed", seed, "-q", "-o", folder / name]
        assert run([str(one) for one in (*arguments, *more)]) == 0
    with av.open(str(folder / "other.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(5):
            image = np.full((32, 48, 3), 200, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    (folder / "notes.txt").write_text("no video")
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "one.mp4", folder / ".hidden" / "one.mp4")
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    from lingen_cli.app import run

    target = folder / "gallery.html"
    arguments = ["gallery", folder, "-o", target, "--title", "Balls & <stars>"]
    assert run([str(one) for one in arguments]) == 0
    return target


def entries_of(page: Path) -> Any:
    text = page.read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(data)


def test_the_page_lists_all_videos(page: Path) -> None:
    rows = entries_of(page)
    assert [unquote(row["url"]) for row in rows] == [
        "broken.mp4",
        "more #1/star.mp4",
        "one.mp4",
        "other.mkv",
        "two.mp4",
    ]
    broken, star, one, other, _ = rows
    assert (broken["kind"], broken["thumbnail"]) == ("broken", "")
    expected = f"not a supported video file: {page.parent / 'broken.mp4'}"
    assert broken["problem"].startswith(expected)
    assert (star["prompt"], star["seed"], star["size"], star["kind"]) == (
        "a star",
        "3",
        "32x32",
        "lingen",
    )
    assert one["prompt"] == PROMPT and one["command"].startswith("lingen rerun ")
    assert (other["kind"], other["prompt"], other["seconds"]) == ("other", "", 1.0)
    assert all(row["thumbnail"].startswith("data:image/jpeg;base64,/9j/") for row in rows[1:])


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=.?https?:", text)
    assert "<title>Balls &amp; &lt;stars&gt;</title>" in text


def test_what_is_wrong_is_refused(
    folder: Path,
    page: Path,
    lingen_here: RunHere,
    fails: Fails,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fails(lingen_here("gallery", folder, "-o", page), 73, "gallery.html")
    fails(lingen_here("gallery", folder, "-o", "page.htm"), 2, "must end in .html")
    fails(lingen_here("gallery", "nowhere"), 66, "no such file or folder: nowhere")
    fails(lingen_here("gallery"), 66, "no videos there")
    again = lingen_here("gallery", folder / "one.mp4", folder / "one.mp4", "-o", "one.html")
    assert again.returncode == 0 and again.stdout == "one.html\n"
    assert len(entries_of(tmp_path / "one.html")) == 1


def prompts_in(main: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'<span class="prompt">(.*?)</span>', main)]


def test_a_browser_shows_prompts_as_they_are(page: Path) -> None:
    title, main = browsed(page)
    assert title == "Balls & <stars>"
    assert prompts_in(main) == ["broken.mp4", "a star", PROMPT, "other.mkv", PROMPT]
    assert len(re.findall(r'<img [^>]*src="data:image/jpeg', main)) == 4


@pytest.mark.parametrize(
    ("state", "prompts"),
    [
        ("#query=STAR", ["a star"]),
        ("#kind=other", ["other.mkv"]),
        ("#kind=lingen&sort=seed", [PROMPT, PROMPT, "a star"]),
        ("#model=lingen-mini&sort=prompt", [PROMPT, PROMPT, "a star"]),
        ("#query=nothing", []),
    ],
)
def test_the_address_filters_and_sorts(page: Path, state: str, prompts: list[str]) -> None:
    assert prompts_in(browsed(page, state)[1]) == prompts


def test_the_same_prompt_stands_side_by_side(page: Path) -> None:
    _, main = browsed(page, "#kind=lingen&group=1")
    heads = [unescape(one) for one in re.findall(r"<h2>(.*?)</h2>", main)]
    assert heads == ["a star (1)", f"{PROMPT} (2)"]


def test_a_video_plays_under_the_mouse(page: Path) -> None:
    script = """
        const image = document.querySelectorAll(".image")[2];
        image.dispatchEvent(new Event("mouseenter"));
        const video = image.querySelector("video");
        const told = what => document.title = what + " " + video.videoWidth;
        video.addEventListener("loadeddata", () => told("plays"));
        video.addEventListener("error", () => told("fails"));
    """
    assert browsed(page, script=script)[0] == "plays 32"


def test_typing_filters_and_a_click_tells_more(page: Path) -> None:
    script = """
        const query = document.getElementById("query");
        query.value = "star";
        query.dispatchEvent(new Event("input"));
        document.querySelector(".image").click();
        document.title = document.querySelector("dialog dl").textContent + " " + location.hash;
    """
    title, main = browsed(page, script=script)
    assert prompts_in(main) == ["a star"]
    assert title.startswith("prompta starfilestar.mp4modellingen-miniseed3")
    assert title.endswith("#query=star")


def test_a_click_plays_the_video_large(page: Path) -> None:
    script = """
        document.querySelectorAll(".image")[2].click();
        const video = document.querySelector("dialog video");
        const told = what => document.title = what + " " + video.videoWidth;
        video.addEventListener("loadeddata", () => told("plays"));
        video.addEventListener("error", () => told("fails"));
    """
    assert browsed(page, script=script)[0] == "plays 32"


def test_foreign_and_broken_videos_are_said_to_be_that(page: Path) -> None:
    main = browsed(page)[1]
    small = [unescape(one) for one in re.findall(r'<span class="small">(.*?)</span>', main)]
    assert "not made by lingen · 1 s · 48x32" in small
    assert any("not a supported video file" in one for one in small)
    assert prompts_in(browsed(page, "#sort=bytes")[1])[0] != "broken.mp4"
