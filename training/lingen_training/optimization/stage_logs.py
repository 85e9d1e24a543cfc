"""Logs of a stage, one JSON object per line, and those who are told what is logged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_models.checkpoints.whole_file import write_whole

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """A clip that the averaged weights made while they were trained: uint8 (T, H, W, 3)."""

    prompt: str
    seed: int
    video: Tensor


class Watcher:
    """Is told what a training logs, samples and saves, in the process that leads. A subclass has
    methods for what it takes."""

    def begun(self, stage: str, step: int) -> None:
        """Note that `stage` goes on after `step`: what was told of later steps comes again."""

    def logged(self, stage: str, record: Mapping[str, float]) -> None:
        """Take a record of `STAGE.jsonl`."""

    def validated(self, stage: str, record: Mapping[str, float]) -> None:
        """Take a record of `STAGE.validation.jsonl`."""

    def sampled(self, stage: str, step: int, samples: Sequence[Sample]) -> None:
        """Take clips of the stage's prompts, in their order."""

    def saved(self) -> None:
        """Note that a state was saved."""

    def ended(self, error: BaseException | None) -> None:
        """Note that the training ended, and with which error, if any."""


@contextmanager
def watched(watchers: Sequence[Watcher]) -> Iterator[None]:
    """Tell watchers how the block ended."""
    try:
        yield
    except BaseException as error:
        for watcher in watchers:
            watcher.ended(error)
        raise
    for watcher in watchers:
        watcher.ended(None)


def read_log(path: Path) -> list[dict[str, float]]:
    """The records of one stage's log; a last line cut off by a kill is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record to a log."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def rewind(path: Path, step: int) -> None:
    """Drop records after `step`, which will be written again, and a line that a kill cut off."""
    if not path.exists():
        return
    kept = [record for record in read_log(path) if record["step"] <= step]
    write_whole(path, "".join(json.dumps(record) + "\n" for record in kept).encode())
