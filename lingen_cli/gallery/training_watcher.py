"""Keeps the report of a training as it goes on."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from lingen_cli.exit_codes import failure_of
from lingen_cli.files.printable import printable
from lingen_cli.gallery.training_report import (
    REPORT,
    SAMPLES,
    SESSIONS,
    now,
    read_sessions,
    sample_path,
    samples_in,
    write_report,
)
from lingen_cli.media.writer import VideoWriter
from lingen_cli.terminal import console
from lingen_models.checkpoints.whole_file import write_whole
from lingen_playground import FPS
from lingen_training.optimization.stage_logs import Sample, Watcher

_EVERY = 30.0
"""Seconds for which a report is new enough."""


class ReportWatcher(Watcher):
    """Writes samples, `sessions.json` and `report.html` into the folder of a training.

    It watches one run of the command, on a machine that `machine` describes. Nothing is written
    before a stage begins.
    """

    def __init__(self, folder: Path, machine: str) -> None:
        self.folder = folder
        self._machine = machine
        self._session: dict[str, str] = {}
        self._before: list[dict[str, str]] = []
        self._written = 0.0

    def begun(self, stage: str, step: int) -> None:
        """Delete samples of later steps, and write the report."""
        if not self._session:
            self._before = read_sessions(self.folder)
            self._session = {"began": now(), "machine": self._machine}
            self._keep_session()
            console.note(f"lingen: report in {printable(self.folder / REPORT)}")
        for at, paths in samples_in(self.folder, stage).items():
            if at > step:
                for path in paths:
                    path.unlink()
        self._write()

    def logged(self, stage: str, record: Mapping[str, float]) -> None:
        """Write the report, if it is old."""
        self._refresh()

    def sampled(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        """Write clips as videos. Raises WriteFailedError (74), OSError."""
        (self.folder / SAMPLES).mkdir(exist_ok=True)
        for number, sample in enumerate(samples, 1):
            path = sample_path(self.folder, stage, step, number)
            temporary = path.with_name(f".{path.name}.tmp")
            height, width = sample.video.shape[1:3]
            try:
                with VideoWriter(
                    temporary,
                    width=width,
                    height=height,
                    fps=Fraction(FPS),
                    metadata={"title": sample.prompt},
                    target=path,
                ) as writer:
                    writer.write(sample.video.numpy())
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def saved(self) -> None:
        """Write the report, if it is old."""
        self._refresh()

    def ended(self, error: BaseException | None) -> None:
        """Write the report. Raises OSError, but not on top of another error."""
        if not self._session:
            return
        result = "done" if error is None else failure_of(error).message
        self._session |= {"ended": now(), "result": result}
        with contextlib.nullcontext() if error is None else contextlib.suppress(OSError):
            self._keep_session()
            self._write()

    def _refresh(self) -> None:
        if time.monotonic() - self._written > _EVERY:
            self._write()

    def _write(self) -> None:
        write_report(self.folder)
        self._written = time.monotonic()

    def _keep_session(self) -> None:
        """Write this run behind those before."""
        text = json.dumps([*self._before, self._session], indent=2)
        write_whole(self.folder / SESSIONS, text.encode())
