import gc
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import pytest

END_TO_END = {
    "api",
    "benchmarks",
    "cli",
    "media/test_decoders.py",
    "media/test_full_disk.py",
    "media/test_mutations.py",
    "media/test_show.py",
    "media/test_work_folder_owners.py",
    "models/test_malloc.py",
    "models/test_triton_ssd.py",
    "packaging/test_example_plugin.py",
    "packaging/test_wheel.py",
    "playground/test_close_up.py",
    "playground/test_oracle.py",
    "plugins/test_ending_plugins.py",
    "training/test_bench.py",
    "training/test_distil.py",
    "training/test_few_steps.py",
    "training/test_forecast.py",
    "training/test_parallel.py",
    "training/test_run.py",
    "training/test_scale_page.py",
    "training/test_sharded.py",
}
"""Folders and files of tests that take seconds each; single tests are marked where they stand."""

LAST = ("models", "packaging", "playground", "plugins", "media")
"""Folders of short files: where they come last, no process of several waits long for the others."""

gc.disable()  # until the tests are collected, nearly nothing is garbage
# Before anything imports torch, and inherited by every process that a test starts: the networks
# here are so small that threads cost more than they give, and wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# In memory, where there is a place for it, `fsync` takes no time: every video waits for several.
MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK | os.X_OK):
    system = os.statvfs(MEMORY)
    if system.f_bavail * system.f_frsize > 4 << 30 and not system.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
# Hundreds of processes that tests start import the same modules, compiled once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# What processes that tests fork need, imported once.
multiprocessing.set_forkserver_preload(
    [
        "torch._dynamo",  # of optimizers
        "av",
        "lingen_cli.app",
        "lingen_cli.generation.generate",
        "lingen_cli.media.writer",
        "lingen_training.trainer",
    ]
)
# Tests give processes homes of their own, and each of those would compile the kernels again.
os.environ.setdefault("LINGEN_C_KERNELS_FOLDER", os.path.expanduser("~/.cache/lingen/kernels"))


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what stays to the end: modules, and the tests."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts processes or makes videos: `pytest -m "not e2e"` is the fast layer; and
    move long files to the front."""
    root = Path(__file__).parent
    places = {name: number for number, name in enumerate(LAST)}
    items.sort(key=lambda item: places.get(item.path.relative_to(root).parts[0], -1))
    for item in items:
        place = item.path.relative_to(root)
        if place.parts[0] in END_TO_END or str(place) in END_TO_END:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of a very small, untrained model: the whole path in a second."""
    import torch

    from lingen_models.checkpoints.safetensors import save_network
    from lingen_models.network_config import PRESETS, TAEConfig, WordsConfig
    from lingen_models.networks.denoiser import LinGen
    from lingen_models.networks.video_autoencoder import TemporalAutoencoder
    from lingen_models.networks.word_encoder import WordEncoder
    from lingen_plugins.builtin.variants import tiny

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    config = tiny(PRESETS["mini"])
    words = WordsConfig(words=("a", "red", "ball"), width=config.text_dims[0], head_dim=16)
    codec = TAEConfig(widths=(8, 8, 8), depths=(1, 1, 1))
    parts = [
        ("denoiser", "lingen", LinGen(config), config),
        ("autoencoder", "tae", TemporalAutoencoder(codec), codec),
        ("text_encoder", "words", WordEncoder(words), words),
    ]
    for name, kind, network, settings in parts:
        metadata = {"kind": kind, "config": settings.to_dict()}
        save_network(folder / f"{name}.safetensors", network, metadata)
    return folder


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment of its own: what it installs is seen by no other test.

    It sees the packages of this one, and lingen from this checkout; nothing is downloaded.
    """
    import subprocess
    import sys
    import sysconfig

    folder = tmp_path_factory.mktemp("environment")
    command = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    python = folder / "bin" / "python"
    ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    root = Path(__file__).parents[1]
    sources = [root, root / "models", root / "plugins", root / "playground", root / "training"]
    theirs = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    lines = [*map(str, sources), *sorted(theirs)]
    (Path(packages) / "lingen-under-test.pth").write_text("\n".join(lines) + "\n")
    return python
