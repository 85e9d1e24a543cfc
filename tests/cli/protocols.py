"""Types of the fixtures that are functions and are used by many files."""

import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Run(Protocol):
    """`lingen` as a process of its own; `options` are those of `subprocess.run`."""

    def __call__(
        self, *arguments: object, prefix: Sequence[str] = (), **options: Any
    ) -> subprocess.CompletedProcess[str]: ...


class RunHere(Protocol):
    """`lingen` inside this process."""

    def __call__(self, *arguments: object) -> subprocess.CompletedProcess[str]: ...


class Fails(Protocol):
    """The check that every failing run must pass."""

    def __call__(
        self, result: subprocess.CompletedProcess[str], code: int, *parts: str
    ) -> None: ...


class Encoded(Protocol):
    """Frames that were given to the encoder, uint8 (T, H, W, 3)."""

    @property
    def all(self) -> np.ndarray: ...


class Collect(Protocol):
    """A context in which the frames that are given to the encoder are collected."""

    def __call__(self) -> AbstractContextManager[Encoded]: ...


class LoadPipeline(Protocol):
    """A pipeline of diffusers, by the name of its class, in the precision of a video."""

    def __call__(self, name: str, folder: Path, video: Path) -> Any: ...
