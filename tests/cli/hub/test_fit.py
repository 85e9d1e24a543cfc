"""Where networks go on cards of several sizes, all of them simulated."""

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingen_plugins.hub.fit_ladder import Needs, Part
from tests.cli.protocols import Fails, RunHere

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("diffusers") is None,
        reason="needs diffusers: pip install 'lingen[hub]'",
    ),
    # What diffusers 0.42 does with numpy 2 in its schedulers warns of later versions.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
WISH = ("--size", "32", "--frames", "9", "--steps", "2", "--seed", "3")
CONTEXT = 600_000_000
"""Bytes of a card that CUDA takes for itself."""
MILLION = 1_000_000


def needs(
    transformer: tuple[int, int, int],
    text_encoder: Any,
    vae: Any,
    sampling: int,
    decoding: int,
    tiled: int,
) -> Needs:
    """From millions of bytes: (whole, block, leaf) of parts, and what computing takes."""
    parts = {"transformer": transformer, "text_encoder": text_encoder, "vae": vae}
    sizes = {
        name: Part(whole=whole * MILLION, block=block * MILLION, leaf=leaf * MILLION)
        for name, (whole, block, leaf) in parts.items()
    }
    more = {"sampling": sampling, "decoding": decoding, "tiled": tiled}
    return Needs(parts=sizes, **{name: one * MILLION for name, one in more.items()})


UMT5, T5, GEMMA = (11_362, 2_870, 2_100), (9_525, 1_030, 260), (5_229, 1_490, 1_180)
WAN_VAE, LTX_VAE = (508, 340, 20), (4_988, 4_570, 450)
REAL = {
    "wan-1.3b": needs((2_838, 240, 30), UMT5, WAN_VAE, 1_812, 7_800, 2_085),
    "skyreels-v2-1.3b": needs((2_871, 270, 30), UMT5, WAN_VAE, 2_820, 10_200, 10_200),
    "sana-video-2b": needs((4_114, 460, 60), GEMMA, WAN_VAE, 2_600, 7_800, 2_085),
    "ltx-13b-distilled": needs((26_085, 1_380, 200), T5, LTX_VAE, 1_100, 7_900, 7_900),
    "helios-14b": needs((28_625, 1_920, 310), UMT5, WAN_VAE, 1_600, 4_800, 4_800),
    "wan-2.1-14b": needs((28_577, 1_870, 310), UMT5, WAN_VAE, 6_037, 7_800, 2_085),
}
"""Counted from published configurations: images of 832x480 and the like, clips as trained. Those
that decode in pieces of their own are never tiled."""


@pytest.mark.parametrize(
    ("model", "places"),
    [
        ("wan-1.3b", ("block tiled", "model", "model", "whole")),
        ("skyreels-v2-1.3b", ("cpu", "model", "model", "model")),
        ("sana-video-2b", ("model tiled", "model", "model", "whole")),
        ("ltx-13b-distilled", ("cpu", "cpu", "block", "block")),
        ("helios-14b", ("block", "block", "block", "block")),
        ("wan-2.1-14b", ("leaf tiled", "block", "block", "block")),
    ],
)
def test_where_it_begins(model: str, places: tuple[str, str, str, str]) -> None:
    for size, place in zip((8, 12, 16, 24), places, strict=True):
        free = size * 2**30 - CONTEXT
        (first, *_), tiled = REAL[model].places("auto", free, 64 * 2**30), " tiled" in place
        assert (first, REAL[model].decodes_in_tiles(free)) == (place.split()[0], tiled), size


def test_what_the_machine_itself_cannot_hold_comes_from_the_disk() -> None:
    free = 8 * 2**30 - CONTEXT
    helios = REAL["helios-14b"]
    assert helios.places("auto", free, 64 * 2**30) == ["block", "leaf", "cpu"]
    assert helios.places("auto", free, 16 * 2**30) == ["block", "leaf", "disk", "cpu"]
    assert helios.places("disk", free, 64 * 2**30) == ["disk"]
    assert helios.places("group", free, 64 * 2**30) == ["block", "leaf"]
    assert helios.cannot_be("model", free) and not helios.cannot_be("block", free)


def test_parts_and_decoding_are_counted_without_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers
    from accelerate import init_empty_weights

    from lingen_plugins.hub.fit_ladder import needs_of

    with init_empty_weights():
        transformer = diffusers.WanTransformer3DModel(
            num_attention_heads=12, ffn_dim=8960, num_layers=30
        )
        vae = diffusers.AutoencoderKLWan()
    parts = {"transformer": transformer, "vae": vae}
    pipe = type("Pipe", (), {**parts, "components": parts})
    found = needs_of(pipe, (1, 16, 21, 60, 104), {"transformer": 2, "vae": 4}, tiles=True)
    real = REAL["wan-1.3b"]
    for name in parts:
        for kind in ("whole", "block", "leaf"):
            counted, known = (getattr(one.parts[name], kind) for one in (found, real))
            assert counted == pytest.approx(known, abs=20 * MILLION), (name, kind)
    for name in ("sampling", "decoding", "tiled"):
        assert getattr(found, name) == pytest.approx(getattr(real, name), rel=0.01), name
    # A torch without what counts operators: decoding is estimated, not too low.
    monkeypatch.setitem(sys.modules, "lingen_models.live_bytes", None)
    estimated = needs_of(pipe, (1, 16, 21, 60, 104), {"transformer": 2, "vae": 4}, tiles=True)
    assert estimated.decoding > found.decoding and estimated.sampling == found.sampling


class Card:
    """A card on a machine that has none; `begin` is the first place that it seems to have room
    for, `free` what there really is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch
        from diffusers import DiffusionPipeline

        from lingen_plugins.hub import fit_ladder as fit

        self.begin, self.free = "whole", 10**12
        self.seen: list[str] = []
        monkeypatch.setattr(fit, "free_of_card", lambda _: (self.free, self.free, "a small card"))
        names = ("lingen_cli.zoo.load_model", "lingen_cli.generation.generate")
        # All are imported before one is patched: what imports later would keep the patch.
        for module in [importlib.import_module(name) for name in names]:
            monkeypatch.setattr(module, "find_device", lambda name: name)
        put, move = fit.put, DiffusionPipeline.to

        def moved(pipe: Any, device: Any, *more: Any, **named: Any) -> Any:
            if str(device) != "cuda":
                return move(pipe, device, *more, **named)
            size = sum(
                number.numel() * number.element_size()
                for network in fit.networks(pipe).values()
                for number in network.parameters()
            )
            if size > self.free:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return pipe

        def placed(pipe: Any, place: str, device: str, folder: str | None = None) -> None:
            self.seen.append(place)
            put(pipe, place, device if place == "whole" else "cpu", folder)

        def places(_: object, offload: str, free: int, memory: int) -> list[str]:
            allowed = list(fit.OFFLOADS[offload])
            return allowed[allowed.index(self.begin) :] if self.begin in allowed else allowed

        monkeypatch.setattr(DiffusionPipeline, "to", moved)
        monkeypatch.setattr(fit, "put", placed)
        monkeypatch.setattr(Needs, "places", places)
        monkeypatch.setattr(Needs, "decodes_in_tiles", lambda *_: False)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    from lingen_models import precision

    compute = precision.compute_dtype
    monkeypatch.setattr(precision, "compute_dtype", lambda _: compute("cpu"))
    return Card(monkeypatch)


@pytest.fixture
def video(
    hub: RunHere, twin: Callable[..., Any], card: Card
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that makes a video on the card, under a name."""

    def make(
        name: str, *more: object, of: str = "wan-2.2-a14b"
    ) -> subprocess.CompletedProcess[str]:
        card.seen.clear()
        wish = ("generate", "a red cat", "--model", twin(of), *WISH, "--device", "cuda")
        return hub(*wish, *more, "-o", name)

    return make


def recipe_of(name: str) -> Any:
    from lingen_cli.requests.recipe import recipe_from_video

    return recipe_from_video(Path(name))


@pytest.mark.parametrize("twin_name", ["wan-2.2-a14b", "ltx-timed", "hunyuan"])
def test_each_place_gives_the_same_frames(
    video: Callable[..., subprocess.CompletedProcess[str]], card: Card, twin_name: str
) -> None:
    result = video("whole.mp4", of=twin_name)
    assert result.returncode == 0 and card.seen == ["whole"]
    assert "small card" not in result.stderr
    frames = recipe_of("whole.mp4").frame_hashes
    for place in ("model", "block", "leaf", "disk", "cpu"):
        card.begin = place
        result = video(f"{place}.mp4", of=twin_name)
        assert result.returncode == 0, result.stderr
        assert card.seen == [place] and "a small card has" in result.stderr
        assert recipe_of(f"{place}.mp4").frame_hashes == frames, place


def test_one_place_after_the_other_until_it_runs(
    video: Callable[..., subprocess.CompletedProcess[str]],
    card: Card,
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from lingen_plugins.hub.by_signature import BySignature

    assert video("whole.mp4").returncode == 0
    card.free = 1000  # so `.to` raises
    call, needed = BySignature._call, ["leaf"]

    def narrow(self: Any, *given: Any, **named: Any) -> Any:
        if card.seen[-1] != needed[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return call(self, *given, **named)

    monkeypatch.setattr(BySignature, "_call", narrow)
    monkeypatch.setattr(Needs, "cannot_be", lambda *_: False)
    result = video("leaf.mp4")
    assert result.returncode == 0, result.stderr
    assert card.seen == ["whole", "model", "block", "leaf"]
    assert "out of memory; the layers of the parts come to the card" in result.stderr
    assert recipe_of("leaf.mp4").frame_hashes == recipe_of("whole.mp4").frame_hashes
    needed[0] = "never"
    result = video("never.mp4")
    fails(result, 71, "out of memory")
    assert card.seen == ["whole", "model", "block", "leaf", "disk"]


@pytest.mark.parametrize("twin_name", ["wan-2.2-a14b", "hunyuan"])
def test_images_that_do_not_fit_are_decoded_in_tiles(
    hub: RunHere,
    video: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    twin_name: str,
) -> None:
    import torch

    from lingen_plugins.hub import by_signature

    beside = by_signature.BySignature._decode_pieces

    def narrow(self: Any, latents: Any) -> Any:
        if not self.tiles:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return beside(self, latents)

    with monkeypatch.context() as patch:
        patch.setattr(by_signature.BySignature, "_decode_pieces", narrow)
        result = video("v.mp4", of=twin_name)
    assert result.returncode == 0, result.stderr
    assert "out of memory; images are decoded in tiles" in result.stderr
    assert recipe_of("v.mp4").tiles
    assert hub("rerun", "v.mp4", "--device", "cpu", "-o", "again.mp4").returncode == 0
    again = recipe_of("again.mp4")
    assert again.tiles and again.frame_hashes == recipe_of("v.mp4").frame_hashes


def test_a_part_that_cannot_fit_is_named(
    video: Callable[..., subprocess.CompletedProcess[str]], card: Card, fails: Fails
) -> None:
    card.free = 1000
    result = video("v.mp4", "--offload", "none")
    fails(result, 71, "does not fit with --offload none", "a small card has 0.0 GB of 0.0 GB free")
    assert "its largest part, the vae, takes" in result.stderr
    fails(video("v.mp4", "--offload", "group"), 71, "--offload group")
    fails(video("v.mp4", "--offload", "fast"), 2, "--offload must be 'auto', 'none'")
    assert not Path("v.mp4").exists()


def test_a_plan_counts_what_a_card_must_hold(
    hub: RunHere,
    twin: Callable[..., Any],
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import json

    command = ("plan", "a red cat", "--model", twin("wan-2.2-a14b"), *WISH, "--device", "cpu")
    result = hub(*command, "--guidance", "4", "--json")
    assert result.returncode == 0, result.stderr
    plan = json.loads(result.stdout)
    assert (plan["frames"], plan["steps"], plan["passes"]) == (9, 2, 4)
    assert plan["weights"] == sum(plan["parts"].values()) < plan["places"]["whole"]
    assert {"transformer", "transformer_2", "text_encoder", "vae"} == set(plan["parts"])
    assert plan["places"]["model"] < plan["places"]["whole"] and plan["place"] is None
    told = hub(*command).stdout
    assert "run by diffusers" in told and "whole" in told and "not known" in told
    fails(hub(*command, "--fit", "8GB"), 69, "leave out --fit and --budget")
    free = int(1.06 * plan["places"]["model"])
    monkeypatch.setattr(
        "lingen_plugins.hub.fit_ladder.free_of_card", lambda _: (free, free, "small")
    )
    monkeypatch.setattr("lingen_cli.planning.hub_plan.find_device", lambda _: "cuda")
    monkeypatch.setattr("lingen_plugins.hub.fit_ladder.LIBRARIES_BYTES", 0)
    assert json.loads(hub(*command, "--json").stdout)["place"] == "model"
    away = json.loads(hub("plan", "a red cat", "--model", "wan-1.3b", "--json").stdout)
    assert away["places"] == {} and set(away["parts"]) == {"transformer", "text_encoder", "vae"}
