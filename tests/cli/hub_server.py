"""As much of the Hugging Face hub as a download needs, on this machine."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

REPOSITORY = "someone/tiny-video"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """`files` by path; `requests` are what was asked for, as (method, path, range)."""

    repository, commit = REPOSITORY, COMMIT
    cache: Path
    """Where huggingface_hub keeps what it downloads from here."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.cut_after: int | None = None
        """Bytes after which the next download, and only that, loses its connection."""
        self.stall_after: int | None = None
        """Bytes after which downloads of larger files do not go on, until `released`."""
        self.released = threading.Event()
        self.status: tuple[int, str] | None = None
        """An error for every request, with the code that the hub would name."""
        self.ranges = True
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def gets(self) -> list[tuple[str, str | None]]:
        """(file, range) of each download that was begun."""
        return [
            (path.rsplit("/", 1)[1], span)
            for method, path, span in self.requests
            if method == "GET"
        ]

    def _handler(hub) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, body: bool) -> None:
                span = self.headers.get("Range")
                hub.requests.append((self.command, self.path, span))
                if hub.status is not None:
                    return self._refuse(*hub.status)
                if self.path.startswith(f"/api/models/{REPOSITORY}/revision/"):
                    self._describe(self.path.rsplit("/", 1)[1].partition("?")[0])
                    return
                if self.path.startswith(f"/api/models/{REPOSITORY}/tree/{COMMIT}"):
                    self._list()
                    return
                start = f"/{REPOSITORY}/resolve/"
                if not self.path.startswith(f"/{REPOSITORY}/"):
                    return self._refuse(404, "RepoNotFound")
                commit, _, name = self.path.removeprefix(start).partition("/")
                if commit != COMMIT:
                    return self._refuse(404, "RevisionNotFound")
                if name not in hub.files:
                    return self._refuse(404, "EntryNotFound")
                self._send(hub.files[name], span if hub.ranges else None, body)

            def _describe(self, revision: Any) -> Any:
                if revision not in ("main", COMMIT):
                    return self._refuse(404, "RevisionNotFound")
                files = [{"rfilename": name} for name in hub.files]
                facts = {"id": REPOSITORY, "sha": COMMIT, "siblings": files}
                self._send(json.dumps(facts).encode(), None, True)

            def _list(self) -> None:
                found = [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                    for name, data in hub.files.items()
                ]
                self._send(json.dumps(found).encode(), None, True)

            def _send(self, data: Any, span: Any, body: Any) -> None:
                asked = re.fullmatch(r"bytes=(\d+)-", span) if span else None
                begin = int(asked[1]) if asked else 0
                self.send_response(206 if span else 200)
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", str(len(data) - begin))
                if span:
                    self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
                self.end_headers()
                if not body:
                    return
                if hub.cut_after is not None:
                    cut, hub.cut_after = hub.cut_after, None
                    self.wfile.write(data[begin : begin + cut])
                    self.wfile.flush()
                    self.close_connection = True
                    return
                if hub.stall_after is not None and len(data) > hub.stall_after:
                    self.wfile.write(data[begin : begin + hub.stall_after])
                    self.wfile.flush()
                    hub.released.wait(60)
                    self.close_connection = True
                    return
                self.wfile.write(data[begin:])

            def _refuse(self, status: int, code: str) -> None:
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

        return Handler
