"""Modular pipelines of diffusers, run from folders as `save_pretrained` writes them."""

import importlib.util
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.hub.test_by_signature_runs import killed
from tests.cli.hub.test_fit import Card
from tests.cli.protocols import Collect, Fails, RunHere

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None,
        reason="needs diffusers: pip install 'lingen[hub]'",
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
WISH = ("--size", "32", "--frames", "9", "--steps", "2", "--seed", "3")


def recipe_of(name: object) -> Any:
    from lingen_cli.requests.recipe import recipe_from_video

    return recipe_from_video(Path(str(name)))


@pytest.mark.parametrize("name", ["wan", "wan-2.2-a14b"])
def test_its_frames_are_those_of_diffusers(
    hub: RunHere, modular: Callable[[str], Path], written: Collect, name: str
) -> None:
    import diffusers
    import torch

    more = ("--guidance", "3", "--negative", "a blue ball", "-o", "v.mp4")
    with written() as frames:
        result = hub("generate", "a red cat", "--model", modular(name), *WISH, *more)
    assert result.returncode == 0 and "it/s" not in result.stderr, result.stderr
    recipe = recipe_of("v.mp4")
    assert (recipe.sampling.guidance_scale, recipe.model) == (3, str(modular(name)))
    assert {"denoiser", "autoencoder", "text_encoder", "tokenizer"} <= set(recipe.weights)
    pipe: Any = diffusers.ModularPipeline.from_pretrained(str(modular(name)))
    dtype = getattr(torch, recipe.dtype)
    pipe.load_components(dtype={"default": dtype, "vae": torch.float32})
    pipe.update_components(guider=pipe.guider.new(guidance_scale=3.0))
    videos = pipe(
        prompt="a red cat",
        negative_prompt="a blue ball",
        num_frames=9,
        height=32,
        width=32,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
        output="videos",
    )
    assert np.array_equal(frames.all, (np.asarray(videos[0]) * 255).round().astype(np.uint8))
    result = hub("generate", "a red cat", "--model", modular(name), *WISH, "-o", "w.mp4")
    assert result.returncode == 0  # its own guidance, not that of the run before
    assert recipe_of("w.mp4").sampling.guidance_scale != 3
    assert recipe_of("w.mp4").frame_hashes != recipe.frame_hashes


def test_it_is_killed_and_ends_in_the_same_bytes(
    hub: RunHere, modular: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lingen_cli.generation import encode
    from lingen_plugins.hub.modular.blocks import RunsAsPipeline

    command = ("generate", "a red cat", "--model", modular("wan"), *WISH)
    assert hub(*command, "-o", "whole.mp4").returncode == 0
    assert hub("verify", "whole.mp4").returncode == 0
    assert hub("rerun", "whole.mp4", "-o", "again.mp4").returncode == 0
    assert Path("again.mp4").read_bytes() == Path("whole.mp4").read_bytes()
    monkeypatch.setenv("LINGEN_JOURNAL_SECONDS", "0")
    for place, name in ((RunsAsPipeline, "__call__"), (encode, "_write")):
        stopped = killed((*command, "-o", "v.mp4"), place, name)
        assert stopped == -signal.SIGKILL and not Path("v.mp4").exists()
    with monkeypatch.context() as patch:  # all is sampled: none of it is done again
        patch.setattr(RunsAsPipeline, "__call__", lambda *_, **__: pytest.fail("sampled again"))
        assert hub("resume", "v.mp4").returncode == 0
    assert Path("v.mp4").read_bytes() == Path("whole.mp4").read_bytes()


def test_each_place_gives_the_same_frames(
    hub: RunHere, modular: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import ModularPipeline

    from lingen_models import precision

    compute, move = precision.compute_dtype, ModularPipeline.to
    monkeypatch.setattr(precision, "compute_dtype", lambda _: compute("cpu"))
    monkeypatch.setattr(ModularPipeline, "to", lambda pipe, device: move(pipe, "cpu"))
    card = Card(monkeypatch)
    command = ("generate", "a red cat", "--model", modular("wan-2.2-a14b"), *WISH)
    found = {}
    for place in ("whole", "model", "block", "leaf", "disk", "cpu"):
        card.begin, card.seen = place, []
        result = hub(*command, "--device", "cuda", "-o", f"{place}.mp4")
        assert result.returncode == 0 and card.seen == [place], result.stderr
        found[place] = recipe_of(f"{place}.mp4").frame_hashes
    assert all(one == found["whole"] for one in found.values())


def test_folders_that_cannot_be_run(
    hub: RunHere, modular: Callable[[str], Path], fails: Fails
) -> None:
    def refused(code: int, *words: str, **changes: Any) -> None:
        shutil.rmtree("m", ignore_errors=True)
        shutil.copytree(modular("wan"), "m")
        path = Path("m/modular_model_index.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        if words[0].startswith("a part"):
            shutil.rmtree("m/vae")
        fails(hub("generate", "a cat", "--model", "./m", *WISH, "-o", "v.mp4"), code, *words)
        assert not Path("v.mp4").exists()

    refused(65, "has no class NobodysModularPipeline", _class_name="NobodysModularPipeline")
    refused(65, "lingen loads parts of diffusers and transformers", vae=["os", "system", {}])
    refused(66, "a part of the weights is missing", "vae")
    image = {"_class_name": "FluxModularPipeline", "_blocks_class_name": "FluxAutoBlocks"}
    refused(65, "no video", **image)
    fails(hub("generate", "a", "--model", modular("wan"), "--image", "a.png"), 2, "no images")
    shown = hub("plan", "a cat", "--model", modular("wan"), *WISH, "--device", "cpu", "--json")
    assert set(json.loads(shown.stdout)["parts"]) == {"transformer", "text_encoder", "vae"}
