"""A tiny SANA-Video through the whole command line, beside the same pipeline called directly."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.protocols import Collect, Fails, LoadPipeline, RunHere

pytestmark = [
    pytest.mark.skipif(
        find_spec("diffusers") is None, reason="needs diffusers: pip install 'lingen[hub]'"
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]


def test_its_frames_are_those_of_diffusers(
    hub: RunHere,
    direct: LoadPipeline,
    written: Collect,
    plain: Callable[[Any], np.ndarray],
    fails: Fails,
    tiny_sana: Path,
    tmp_path: Path,
) -> None:
    import torch

    video = tmp_path / "v.mp4"
    wish = ("a red cat", "--model", "sana-video-2b", "--weights", tiny_sana, "--accept-license")
    sampling = ("--steps", "2", "--seed", "5", "--guidance", "4", "--negative", "a ball")
    with written() as frames:
        result = hub("generate", *wish, *sampling, "--size", "64x32", "--frames", "9", "-o", video)
    assert result.returncode == 0, result.stderr
    pipe = direct("SanaVideoPipeline", tiny_sana, video)
    output = pipe(
        "a red cat",
        negative_prompt="a ball",
        frames=9,
        height=32,
        width=64,
        num_inference_steps=2,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(5),
        use_resolution_binning=False,
        output_type="np",
    )
    assert np.array_equal(frames.all, plain(output))
    assert hub("verify", video).returncode == 0
    fails(hub("extend", video), 2, "cannot go on")
    fails(hub("generate", *wish, "--size", "48"), 2, "a multiple of 32")
    fails(hub("generate", *wish, "--frames", "82"), 2, "at most 5.062 s")
