"""`lingen train` reads its recipe once, whatever it trains on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lingen_cli.media.images.image_files import write_png
from lingen_training import trainer, training_recipe
from tests.cli.protocols import RunHere
from tests.tiny_recipe import tiny_recipe


@pytest.mark.parametrize("options", [(), ("--data", "clips")])
def test_the_recipe_is_read_once(
    lingen_here: RunHere,
    clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    Path("clips").mkdir()
    write_png(Path("clips/a.png"), np.full((64, 64, 3), 90, np.uint8))
    Path("clips/a.txt").write_text("a wall")
    said = "" if options else "\n[data]\nfolder = 'clips'\n"
    text = tiny_recipe().replace("latent_frames = 2", "latent_frames = 1")
    Path("own.toml").write_text(text.replace("seed = 3\n", f"seed = 3\n{said}"))
    reads = []

    def counted(path: Path, *more: Any) -> training_recipe.Recipe:
        reads.append(path)
        return read_recipe(path, *more)

    read_recipe = training_recipe.read_recipe
    monkeypatch.setattr(trainer, "read_recipe", counted)
    monkeypatch.setattr(training_recipe, "read_recipe", counted)
    result = lingen_here("train", "own.toml", *options, "--processes", "1", "-o", "out")
    assert result.returncode == 0, result.stderr
    assert reads == [Path("own.toml")]
    assert "1 clips in clips" in result.stderr
