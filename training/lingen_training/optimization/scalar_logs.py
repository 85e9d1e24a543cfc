"""Numbers of a training for other tools: all that goes into its `.jsonl` logs, as it comes."""

from __future__ import annotations

import json
import os
import secrets
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingen_training.optimization.stage_logs import Watcher

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

LOG_TARGETS = ("tensorboard", "wandb")
"""Tools that numbers can go to: the names of their packages, and of their extras."""


class _ScalarLog(Watcher):
    """Takes numbers under their names in the logs; those of validations begin with
    `validation/`."""

    def logged(self, stage: str, record: Mapping[str, float]) -> None:
        self.write(stage, record)

    def validated(self, stage: str, record: Mapping[str, float]) -> None:
        marks = {key: value for key, value in record.items() if key not in ("step", "tokens")}
        names = {f"validation/{key}": value for key, value in marks.items()}
        self.write(stage, {"step": record["step"], **names})

    @abstractmethod
    def write(self, stage: str, record: Mapping[str, float]) -> None:
        """Write all numbers of a record, which has a "step"."""


class TensorBoardLog(_ScalarLog):
    """Event files of TensorBoard, in a folder for each stage. Needs the package tensorboard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None

    def begun(self, stage: str, step: int) -> None:
        """Have TensorBoard forget what comes after `step`."""
        self.ended(None)
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(self.folder / stage, purge_step=step + 1)

    def write(self, stage: str, record: Mapping[str, float]) -> None:
        """Write all numbers of a record, and let readers have them."""
        assert self._writer is not None
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(record["step"]))
        self._writer.flush()

    def ended(self, error: BaseException | None) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class WandbLog(_ScalarLog):
    """A run of Weights & Biases in `folder/wandb`, offline unless the environment says otherwise
    (`WANDB_MODE`). Needs the package wandb."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._run: Any = None

    def begun(self, stage: str, step: int) -> None:
        """Open the run, which a resumed training goes on with."""
        if self._run is None:
            mode = os.environ.get("WANDB_MODE", "offline")
            if mode == "offline":  # reports of crashes would open the network
                os.environ["WANDB_ERROR_REPORTING"] = "false"
            import wandb

            self._run = wandb.init(
                project="lingen",
                name=self.folder.resolve().name,
                dir=str(self.folder),
                id=self._id(),
                resume="allow",
                mode=mode,
                config=json.loads((self.folder / "recipe.json").read_bytes()),
            )
        self._run.define_metric(f"{stage}/step")
        self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")

    def write(self, stage: str, record: Mapping[str, float]) -> None:
        """Write all numbers of a record under the name of the stage."""
        self._run.log({f"{stage}/{name}": value for name, value in record.items()})

    def ended(self, error: BaseException | None) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish(exit_code=0 if error is None else 1)
            self._run = None

    def _id(self) -> str:
        """The id of the run of this folder, drawn when it first has one."""
        path = self.folder / "wandb" / "run-id"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(secrets.token_hex(4), encoding="ascii")
        return path.read_text(encoding="ascii")
