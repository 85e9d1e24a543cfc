"""The weights of a diffusion transformer as a folder of weights of a LinGen."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from lingen_cli.errors import BadDataError, OutputExistsError
from lingen_cli.files.printable import printable
from lingen_cli.files.write_errors import write_error
from lingen_cli.zoo.locate import LocatedModel
from lingen_plugins.contracts import ModelVariant


def convert_weights(source: LocatedModel, wanted: ModelVariant, folder: Path) -> Path:
    """Write `folder`, whole or not at all; returns it.

    Raises OutputExistsError (73) where something is there, BadDataError (65) for networks that
    differ in more than their mixers, WriteFailedError (74).
    """
    import torch

    from lingen_cli.zoo.load_model import load_model
    from lingen_models.checkpoints.safetensors import save_network
    from lingen_models.conversion.dit_to_lingen import lingen_of
    from lingen_models.network_config import LinGenConfig

    _check_free(folder)
    pipe = load_model(source, "cpu", "float32")
    try:
        made = lingen_of(pipe.denoiser, LinGenConfig.from_dict(wanted.config))
    except ValueError as error:
        raise BadDataError(f"{source.variant.name} cannot become {wanted.name}: {error}") from error
    facts = {"model": source.variant.name, "sha256": source.hashes["denoiser"]}
    metadata = {"kind": "lingen", "config": made.config.to_dict(), "converted": facts}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:80]}.") as name:
            unfinished = Path(name) / "weights"
            unfinished.mkdir()
            save_network(unfinished / "denoiser.safetensors", made.to(torch.bfloat16), metadata)
            for part, path in source.files.items():
                if part != "denoiser":
                    shutil.copyfile(path, unfinished / f"{part}.safetensors")
            os.replace(unfinished, folder)
    except OSError as error:
        _check_free(folder)
        raise write_error(error, folder) from error
    return folder


def _check_free(folder: Path) -> None:
    """Raise OutputExistsError (73) where there is more than an empty folder."""
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputExistsError(f"is there already, choose another folder: {printable(folder)}")
