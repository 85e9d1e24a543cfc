"""`lingen gallery --serve`, and pages of many videos."""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lingen_cli.gallery.collect import Entry
from lingen_cli.gallery.page import html_of, write_page
from tests.cli.protocols import Fails, RunHere

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    from lingen_cli.app import run

    folder = tmp_path_factory.mktemp("served")
    options = ["--weights", tiny_weights, "--size", "32", "--frames", "17", "--steps", "1", "-q"]
    arguments = ["generate", "a red <b>ball</b>", *options, "--seed", "1", "-o", folder / "a.mp4"]
    assert run([str(one) for one in arguments]) == 0
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture
def served(folder: Path) -> Iterator[int]:
    """Port of a server, which ends with the test; Ctrl-C is its way to end."""
    command = [sys.executable, "-m", "lingen_cli", "gallery", str(folder), "--serve", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    assert process.stdout is not None
    address = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", process.stdout.readline())
    assert address is not None
    yield int(address[1])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "Ctrl-C ends it" in err and "Traceback" not in err
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "secret.txt"]


def asked(port: int, path: str, **headers: Any) -> tuple[Any, Any]:
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    ) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()


def test_it_serves_the_page_and_its_videos_and_nothing_else(served: int, folder: Path) -> None:
    data = (folder / "a.mp4").read_bytes()
    answer, page = asked(served, "/")
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'"url":"video/0"' in page and b"\\u003cb>ball" in page
    answer, body = asked(served, "/video/0")
    assert (answer.status, answer.headers["Content-Type"], body) == (200, "video/mp4", data)
    answer, body = asked(served, "/video/0", Range="bytes=10-19")
    assert (answer.status, body) == (206, data[10:20])
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(data)}"
    answer, body = asked(served, "/video/0", Range=f"bytes={len(data) - 5}-")
    assert (answer.status, body) == (206, data[-5:])
    assert asked(served, "/video/0", Range=f"bytes={len(data)}-")[0].status == 416
    for path in ("/video/1", "/secret.txt", "/../secret.txt", "/video/../secret.txt", "/video/x"):
        answer, body = asked(served, path)
        assert answer.status == 404 and b"secret" not in body.replace(path.encode(), b"")
    assert asked(served, "/", Host="elsewhere.example:80")[0].status == 403


def test_new_videos_are_on_the_page_when_it_is_loaded_again(served: int, folder: Path) -> None:
    assert asked(served, "/")[1].count(b'"url"') == 1
    shutil.copy(folder / "a.mp4", folder / "b.mp4")
    try:
        assert asked(served, "/")[1].count(b'"url"') == 2
        assert asked(served, "/video/1")[1] == (folder / "b.mp4").read_bytes()
    finally:
        (folder / "b.mp4").unlink()
    assert asked(served, "/")[1].count(b'"url"') == 1
    assert asked(served, "/video/1")[0].status == 404


def test_it_plays_in_a_browser(served: int, tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("no chromium")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--autoplay-policy=no-user-gesture-required", f"--user-data-dir={tmp_path}"]
    found = subprocess.run(
        [*command, "--virtual-time-budget=5000", "--dump-dom", f"http://127.0.0.1:{served}/"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in found.stderr, found.stderr
    (prompt,) = re.findall(r'<span class="prompt">(.*?)</span>', found.stdout)
    assert unescape(prompt) == "a red <b>ball</b>"


def test_a_port_that_is_taken(
    served: int, lingen_here: RunHere, fails: Fails, folder: Path
) -> None:
    fails(lingen_here("gallery", folder, "--serve", "--port", served), 69, "cannot listen on port")
    fails(lingen_here("gallery", "nowhere", "--serve"), 66, "no such file or folder")


def test_memory_does_not_grow_with_the_videos(tmp_path: Path) -> None:
    """A thousand videos whose thumbnails have 40 MB together."""

    def entries() -> Iterator[Entry]:
        for number in range(1000):
            yield Entry(
                name=f"{number}.mp4",
                url=f"{number}.mp4",
                kind="lingen",
                prompt=f"prompt {number}",
                thumbnail="data:image/jpeg;base64," + "A" * 40_000,
            )

    tracemalloc.start()
    written = write_page(entries(), tmp_path / "page.html", "many", overwrite=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (written.videos, written.broken) == (1000, 0)
    assert (tmp_path / "page.html").stat().st_size > 40e6 and peak < 5e6


def test_a_page_of_nothing_is_a_page() -> None:
    assert '<script type="application/json" id="data">[]</script>' in "".join(html_of([], "none"))
