"""Every bad input ends in one line and its documented code, and leaves no file behind."""

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.protocols import Fails, Run, RunHere

LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        ([""], 2, "prompt is empty"),
        (["   "], 2, "prompt is empty"),
        ([LONG], 2, "prompt has 100000 characters"),
        (["a\x1b[31mb"], 2, "control character (U+001B)"),
        (["x", "--minutes", "0"], 2, "--minutes must be above 0"),
        (["x", "--minutes", "-1"], 2, "--minutes must be above 0"),
        (["x", "--minutes", "nan"], 2, "--minutes must be above 0"),
        (["x", "--minutes", "soon"], 2, "--minutes"),
        (["x", "--seconds", "1", "--frames", "3"], 2, "say the same thing"),
        (["x", "--size", "100"], 2, "multiple of 16"),
        (["x", "--size", "128x130"], 2, "multiple of 16"),
        (["x", "--size", "0"], 2, "multiple of 16"),
        (["x", "--fps", "0"], 2, "--fps must be"),
        (["x", "--steps", "0"], 2, "--steps must be"),
        (["x", "--guidance", "nan"], 2, "--guidance must be"),
        (["x", "--step-cache", "-1"], 2, "--step-cache must be"),
        (["x", "--guidance-interval", "0.8,0.2"], 2, "--guidance-interval must be two times"),
        (["x", "--guidance-interval", "0,1e3"], 2, "--guidance-interval must be two times"),
        (["x", "--sampler", "eulr"], 2, "did you mean 'euler'?"),
        (["x", "--seed", "-2"], 2, "--seed must be"),
        (["x", "--device", "tpu"], 2, "--device must be"),
        (["x", "--model", "lingen-mni"], 2, "did you mean 'lingen-mini'?"),
        (["x", "--model", "lingen-4b"], 69, "lingen train"),
        (["x", "-o", "video.avi"], 2, "or end in .mp4"),
        (["x", "-o", "v" * 252 + ".mp4"], 2, "the name in --output has more than 255 bytes"),
        (["x", "-o", "http://example.org/x.mp4"], 2, "not a file path"),
        (["x", "--weights", "nowhere"], 66, "nowhere"),
        (["x", "--nonsense"], 2, "--nonsense"),
        ([], 2, "PROMPT"),
    ],
)
def test_arguments(
    lingen_here: RunHere,
    fails: Fails,
    clean_environment: Path,
    arguments: list[str],
    code: int,
    part: str,
) -> None:
    fails(lingen_here("generate", *arguments), code, part)
    assert list(clean_environment.iterdir()) == []


@pytest.mark.parametrize("arguments", [[LONG], ["x", "--minutes", "nan"], ["--nonsense"]])
def test_arguments_of_a_process(lingen: Run, fails: Fails, arguments: list[str]) -> None:
    fails(lingen("generate", *arguments), 2)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("stepz = 3", "lingen.toml:1: unknown key 'stepz'; did you mean 'steps'?"),
        ("\nsteps = 'x'", "lingen.toml:2: steps must be a whole number"),
        ("steps =", "lingen.toml:1: "),
    ],
)
def test_a_wrong_settings_file(
    lingen_here: RunHere, fails: Fails, clean_environment: Path, text: str, part: str
) -> None:
    (clean_environment / "lingen.toml").write_text(text)
    fails(lingen_here("generate", "x"), 78, part)
    fails(lingen_here("config", "show"), 78, part)


class TestOutputs:
    """Checked before torch is imported: torch cannot be imported here."""

    @pytest.fixture
    def generate(
        self, lingen: Run, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., subprocess.CompletedProcess[str]]:
        blocked = tmp_path / "blocked" / "torch"
        blocked.mkdir(parents=True)
        (blocked / "__init__.py").write_text("raise RuntimeError('torch was imported')")
        path = os.pathsep.join([str(blocked.parent), os.environ.get("PYTHONPATH", "")])
        monkeypatch.setenv("PYTHONPATH", path)

        def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
            return lingen("generate", "x", "--weights", tiny_weights, *arguments, **options)

        return run

    def test_torch_really_is_blocked(
        self, generate: Callable[..., subprocess.CompletedProcess[str]], fails: Fails
    ) -> None:
        fails(generate(), 70, "torch was imported")

    def test_an_output_that_exists(
        self,
        generate: Callable[..., subprocess.CompletedProcess[str]],
        fails: Fails,
        clean_environment: Path,
    ) -> None:
        (clean_environment / "there.mp4").write_text("mine")
        fails(generate("-o", "there.mp4"), 73, "already exists", "there.mp4")
        assert (clean_environment / "there.mp4").read_text() == "mine"
        assert len(list(clean_environment.iterdir())) == 1

    def test_an_output_that_is_a_folder(
        self,
        generate: Callable[..., subprocess.CompletedProcess[str]],
        fails: Fails,
        clean_environment: Path,
    ) -> None:
        (clean_environment / "folder.mp4").mkdir()
        fails(generate("-o", "folder.mp4", "--overwrite"), 73, "folder")

    def test_a_folder_that_does_not_exist(
        self,
        generate: Callable[..., subprocess.CompletedProcess[str]],
        fails: Fails,
        clean_environment: Path,
    ) -> None:
        fails(generate("-o", "nowhere/x.mp4"), 66, "no such folder: nowhere")
        assert list(clean_environment.iterdir()) == []

    def test_a_folder_that_cannot_be_written(
        self,
        generate: Callable[..., subprocess.CompletedProcess[str]],
        fails: Fails,
        clean_environment: Path,
    ) -> None:
        locked = clean_environment / "locked"
        locked.mkdir(mode=0o500)
        prefix = []
        if os.geteuid() == 0:  # root may write everywhere unless it gives that right up
            if shutil.which("setpriv") is None:
                pytest.skip("needs setpriv to run as root")
            prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        fails(generate("-o", "locked/x.mp4", prefix=prefix), 77, "permission denied: locked/x.mp4")
        assert list(locked.iterdir()) == []

    def test_too_little_space(
        self,
        generate: Callable[..., subprocess.CompletedProcess[str]],
        fails: Fails,
        clean_environment: Path,
    ) -> None:
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

        fails(generate("-o", "x.mp4", preexec_fn=limit), 74)
        assert list(clean_environment.iterdir()) == []

    def test_an_image_that_is_missing_or_is_none(
        self,
        generate: Callable[..., subprocess.CompletedProcess[str]],
        fails: Fails,
        clean_environment: Path,
    ) -> None:
        fails(generate("--image", "no.png"), 66, "no such file: no.png")
        (clean_environment / "text.png").write_text("not an image")
        fails(generate("--image", "text.png"), 65, "not a PNG, JPEG or WebP image")

    @pytest.mark.parametrize("missing", ["denoiser", "autoencoder", "text_encoder"])
    def test_weights_that_are_not_there(
        self, lingen_here: RunHere, fails: Fails, tiny_weights: Path, tmp_path: Path, missing: str
    ) -> None:
        folder = copy(tiny_weights, tmp_path / "some")
        (folder / f"{missing}.safetensors").unlink()
        fails(lingen_here("generate", "x", "--weights", folder), 66, missing)


WITHOUT_RESERVE = (
    "import sys; from lingen_cli.files.work_folder import WorkFolder; "
    "WorkFolder.reserve = lambda *_: None; "
    "from lingen_cli.app import run; sys.exit(run(sys.argv[1:]))"
)


def test_a_disk_that_fills_up_while_writing(
    fails: Fails, tiny_weights: Path, clean_environment: Path
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, 1 << 12))

    options = [
        "--weights",
        str(tiny_weights),
        "--steps",
        "1",
        "--seconds",
        "1",
        "-o",
        "x.mp4",
        "-q",
    ]
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_RESERVE, "generate", "x", *options],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    fails(result, 74, "file size limit", ": x.mp4")
    assert list(clean_environment.iterdir()) == []


def copy(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (pickle.dumps(Evil()), "must be safetensors"),
        (b"", "damaged weights file"),
        (b"not weights at all", "damaged weights file"),
        ((200 << 20).to_bytes(8, "little") + b"{}", "damaged weights file"),
        (b"\x02\0\0\0\0\0\0\0{}", "foreign weights file"),
    ],
    ids=["pickle", "empty", "text", "huge header", "foreign"],
)
def test_broken_weights(
    lingen_here: RunHere,
    fails: Fails,
    tiny_weights: Path,
    tmp_path: Path,
    clean_environment: Path,
    content: bytes,
    part: str,
) -> None:
    folder = copy(tiny_weights, tmp_path / "broken")
    (folder / "denoiser.safetensors").write_bytes(content)
    fails(lingen_here("generate", "x", "--weights", folder), 65, part)
    assert list(clean_environment.iterdir()) == []


def test_weights_of_another_kind_are_refused(
    lingen_here: RunHere, fails: Fails, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = copy(tiny_weights, tmp_path / "mixed")
    swapped = (folder / "autoencoder.safetensors").read_bytes()
    (folder / "denoiser.safetensors").write_bytes(swapped)
    fails(lingen_here("generate", "x", "--weights", folder, "-q"), 65, "do not fit")


@pytest.mark.parametrize(
    ("part", "key", "value", "told"),
    [
        (
            "denoiser",
            "patch",
            [1, 4, 4],
            "its patch is [1, 4, 4], that of lingen-mini is [1, 2, 2]",
        ),
        ("autoencoder", "latent_channels", 8, "its latent_channels is 16"),
        ("text_encoder", "width", 48, "its text_dims is [32], that of the text encoders"),
    ],
)
def test_weights_that_were_not_made_for_each_other(
    lingen_here: RunHere,
    fails: Fails,
    tiny_weights: Path,
    tmp_path: Path,
    clean_environment: Path,
    part: str,
    key: str,
    value: list[int] | int,
    told: str,
) -> None:
    from lingen_models.checkpoints.safetensors import load_tensors, read_metadata, save_tensors

    folder = copy(tiny_weights, tmp_path / "other")
    path = folder / f"{part}.safetensors"
    facts = read_metadata(path)
    facts["config"][key] = value
    save_tensors(path, load_tensors(path)[0], {"lingen": json.dumps(facts)})
    fails(lingen_here("generate", "x", "--weights", folder), 65, "weights do not fit", told)
    assert list(clean_environment.iterdir()) == []


def test_weights_that_are_cut_off(
    lingen_here: RunHere, fails: Fails, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = copy(tiny_weights, tmp_path / "cut")
    whole = (folder / "denoiser.safetensors").read_bytes()
    (folder / "denoiser.safetensors").write_bytes(whole[:-100])
    fails(lingen_here("generate", "x", "--weights", folder), 65, "damaged weights file")


@pytest.mark.parametrize("command", ["show", "rerun"])
def test_a_video_that_is_none(
    lingen_here: RunHere, fails: Fails, clean_environment: Path, command: str
) -> None:
    fails(lingen_here(command, "no.mp4"), 66, "no.mp4")
    (clean_environment / "text.mp4").write_text("text")
    fails(lingen_here(command, "text.mp4"), 65, "text.mp4")


def test_a_full_standard_output(lingen: Run) -> None:
    with open("/dev/full", "w") as full:
        result = lingen("config", "show", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 74
    assert result.stderr.startswith("lingen: error: cannot write to standard output")


def test_a_reader_that_goes_away_is_no_error(lingen: Run) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        result = lingen(
            "models", "list", capture_output=False, stdout=closed, stderr=subprocess.PIPE
        )
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("lingen: ") and line.endswith("lingen models list --all")
