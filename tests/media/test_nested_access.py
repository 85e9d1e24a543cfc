"""Playlists and other files that make a naive reader ask a server or open other files."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import urlopen

import av
import pytest

from lingen_cli.errors import BadDataError, MissingInputError
from lingen_cli.media.images.image_files import read_image
from lingen_cli.media.open import open_video


class Witness:
    """A local server that remembers what it was asked for."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        witness = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                witness.requests.append(self.path)
                self.send_error(404)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def witness() -> Iterator[Witness]:
    server = Witness()
    yield server
    server.close()


def playlists(url: str, other: Path) -> dict[str, str]:
    m3u8 = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
    return {
        "http segment": m3u8.format(f"{url}/x.ts"),
        "local segment": m3u8.format(other),
        "file url": m3u8.format(f"file://{other}"),
        "key": m3u8.format(other).replace(
            "#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF'
        ),
        "concat": f"ffconcat version 1.0\nfile {other.name}\n",
        "concat http": f"ffconcat version 1.0\nfile {url}/x.mp4\n",
        "dash": f'<?xml version="1.0"?><MPD><BaseURL>{url}/</BaseURL></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=video 9 RTP/AVP 96\n",
        "asx": f'<asx version="3.0"><entry><ref href="{url}/x.mp4"/></entry></asx>',
    }


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".txt"])
def test_playlists_are_not_followed(
    make_video: Callable[..., Path], tmp_path: Path, witness: Witness, suffix: str
) -> None:
    other = make_video("other.mp4")
    for name, content in playlists(witness.url, other).items():
        path = tmp_path / f"{name}{suffix}"
        path.write_text(content)
        with pytest.raises(BadDataError), open_video(path):
            pass
        with pytest.raises(BadDataError):
            read_image(path)
    assert witness.requests == []


def test_addresses_are_names_of_missing_files(witness: Witness) -> None:
    for scheme in ("", "cache:", "async:", "crypto:"):
        with pytest.raises(MissingInputError), open_video(Path(f"{scheme}{witness.url}/x.mp4")):
            pass
    assert witness.requests == []


def test_the_witness_would_have_noticed(tmp_path: Path, witness: Witness) -> None:
    path = tmp_path / "x.m3u8"
    path.write_text(playlists(witness.url, path)["http segment"])
    with path.open("rb") as file, pytest.raises(av.FFmpegError), av.open(file):  # unguarded
        pass
    with pytest.raises(OSError):
        urlopen(f"{witness.url}/direct")
    assert witness.requests[-1] == "/direct"
    assert "/x.ts" in witness.requests
