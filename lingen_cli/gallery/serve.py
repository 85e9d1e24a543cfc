"""A gallery over HTTP, for this machine alone."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

from lingen_cli.errors import NotAvailableError
from lingen_cli.gallery.collect import Entry, find_videos, read_entry
from lingen_cli.gallery.page import html_of

ADDRESS = "127.0.0.1"
_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mov": "video/mp4"}
_BLOCK = 1 << 16
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class Gallery:
    """Videos of files and folders, looked for again whenever the page is asked for; each is read
    once, as long as it does not change."""

    def __init__(self, paths: Sequence[Path], title: str) -> None:
        self.paths, self.title = paths, title
        self._known: dict[Path, tuple[tuple[int, int], Entry]] = {}
        self._files: list[Path] = []
        self._lock = threading.Lock()

    def page(self) -> str:
        """HTML of all videos that are there now."""
        with self._lock:
            found = {path: self._entry(path) for path in find_videos(self.paths)}
            self._known = {path: one for path, one in self._known.items() if path in found}
        return "".join(html_of(found.values(), self.title))

    def file(self, number: int) -> Path | None:
        """The video with a number, if the page has it."""
        return self._files[number] if number < len(self._files) else None

    def _entry(self, path: Path) -> Entry:
        stat = path.stat()
        state = stat.st_mtime_ns, stat.st_size
        if path not in self._known or self._known[path][0] != state:
            entry = replace(read_entry(path, Path()), url=f"video/{len(self._files)}")
            self._files.append(path)
            self._known[path] = state, entry
        return self._known[path][1]


def open_server(gallery: Gallery, port: int) -> ThreadingHTTPServer:
    """Listen on a port of this machine; 0 takes a free one. Raises NotAvailableError (69)."""

    class Handler(_Handler):
        shown = gallery

    try:
        return ThreadingHTTPServer((ADDRESS, port), Handler)
    except OSError as error:
        raise NotAvailableError(
            f"cannot listen on port {port}: {error.strerror}; --port 0 takes a free one"
        ) from error


class _Handler(BaseHTTPRequestHandler):
    """Answers GET for the page and the videos that are on it, and nothing else."""

    shown: Gallery
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the page or a video, or a part of it."""
        # A page of somebody else's must not read this one through a name that leads here.
        if self.headers.get("Host", "").rpartition(":")[0] not in (ADDRESS, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        try:
            if self.path == "/":
                self._page()
            elif found := re.fullmatch(r"/video/(\d{1,9})", self.path):
                self._video(self.shown.file(int(found[1])))
            else:
                self.send_error(HTTPStatus.NOT_FOUND)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # a player that has seen enough

    def log_message(self, format: str, *args: object) -> None:
        """Requests are nobody's business."""

    def _page(self) -> None:
        data = self.shown.page().encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _video(self, path: Path | None) -> None:
        try:
            file = None if path is None else path.open("rb")
        except OSError:
            file = None
        if path is None or file is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            begin, end = 0, size
            if found := _RANGE.fullmatch(self.headers.get("Range", "")):
                begin = int(found[1])
                end = min(size, int(found[2]) + 1) if found[2] else size
                if begin >= end:
                    self.send_error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                    return
            self.send_response(HTTPStatus.PARTIAL_CONTENT if found else HTTPStatus.OK)
            kind = _TYPES.get(path.suffix.lower(), "application/octet-stream")
            self.send_header("Content-Type", kind)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(end - begin))
            if found:
                self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
            self.end_headers()
            file.seek(begin)
            self._send(file, end - begin)

    def _send(self, file: BinaryIO, count: int) -> None:
        while count > 0 and (block := file.read(min(_BLOCK, count))):
            self.wfile.write(block)
            count -= len(block)
