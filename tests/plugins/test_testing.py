"""The kit for authors finds what is wrong, and says what to do about it."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lingen_playground as playground
from lingen_models.networks.space_filling_curves import CURVES
from lingen_models.sampling.denoise import OnStep, Velocity, euler
from lingen_plugins import (
    Autoencoder,
    Dataset,
    ModelVariant,
    Sampler,
    ScanOrder,
    TextEncoder,
    hookimpl,
)
from lingen_plugins.manager import PluginManager
from lingen_plugins.registry import Registry, collect
from lingen_plugins.testing import (
    check_autoencoder,
    check_dataset,
    check_model_variant,
    check_plugin,
    check_sampler,
    check_scan_order,
    check_text_encoder,
    claims,
)


def built_in() -> Registry:
    manager = PluginManager()
    manager.load_builtin()
    return collect(manager)


REGISTRY = built_in()
MINI = REGISTRY.model_variants["lingen-mini"]
WORDS = REGISTRY.text_encoders["playground-words"]
TAE = REGISTRY.autoencoders["tae"]


WEIGHT_OF = claims._weight_of


@pytest.fixture(autouse=True)
def this_file_may_import_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_weight_of", lambda module: "")


def module_with(network: nn.Module, **methods: Any) -> nn.Module:
    """`network`, with methods in place of its own."""
    for name, method in methods.items():
        setattr(network, name, method)
    return network


class Denoiser(nn.Module):
    """As small as a denoiser can be that passes."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.text = nn.Linear(config["text_dims"][0], config["latent_channels"])
        self.scale = nn.Parameter(torch.ones(1))
        self.config = config

    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        texts: Sequence[Tensor],
        masks: Sequence[Tensor],
        first_frame: int = 0,
    ) -> Tensor:
        text: Tensor = (self.text(texts[0]) * masks[0][..., None]).sum(1)
        return self.scale * latents * t[:, None, :, None, None] + text[..., None, None, None]


class Unused(Denoiser):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.spare = nn.Linear(2, 2)


class Dropping(Denoiser):
    def forward(self, latents: Tensor, *rest: Any) -> Tensor:
        return super().forward(latents, *rest) + torch.rand_like(latents)


class Mixing(Denoiser):
    def forward(self, latents: Tensor, *rest: Any) -> Tensor:
        return super().forward(latents, *rest) + latents.mean()


class Unmasked(Denoiser):
    def forward(
        self,
        latents: Tensor,
        t: Tensor,
        texts: Sequence[Tensor],
        masks: Sequence[Tensor],
        first_frame: int = 0,
    ) -> Tensor:
        return super().forward(latents, t, texts, [torch.ones_like(m) for m in masks])


class Cropping(Denoiser):
    def forward(self, latents: Tensor, *rest: Any) -> Tensor:
        return super().forward(latents, *rest)[..., :-1]


class Undefined(Denoiser):
    def forward(self, latents: Tensor, *rest: Any) -> Tensor:
        return super().forward(latents, *rest) / 0


CONFIG = {"latent_channels": 16, "text_dims": [256], "patch": [1, 2, 2]}


def small(build: Any = Denoiser, **changes: Any) -> ModelVariant:
    return replace(
        MINI, weights=None, **{"build": build, "config": CONFIG, "tiny_config": CONFIG} | changes
    )


def test_a_denoiser_that_is_nothing_like_ours_passes() -> None:
    check_model_variant(small(), REGISTRY)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (small(Unused), "no gradient reaches spare.weight, spare.bias; use every parameter"),
        (small(Dropping), "another velocity the second time; leave out chance"),
        (small(Mixing), "a row of a batch has another velocity by itself"),
        (small(Unmasked), "depends on text tokens that the mask leaves out"),
        (small(Cropping), "has the shape"),
        (small(Undefined), "infinite numbers or NaN"),
        (small(dict), "build returned a dict; return a torch.nn.Module"),
        (small(lambda config: Denoiser(config | {"text_dims": [32]})), None),
        (small(config=CONFIG | {"patch": (1, 2, 2)}), r"JSON changes \['patch'\] in config"),
        (small(config=CONFIG | {"x": {1}}), "config is not JSON"),
        (small(config=CONFIG | {"text_dims": [8]}), "its text encoders have \\[256\\]"),
        (small(tiny_config=CONFIG | {"text_dims": [8, 8]}), "2 text_dims for 1 text encoders"),
        (small(config=CONFIG | {"latent_channels": 4}), "the autoencoder 'tae' says 16"),
        (small(config=CONFIG | {"review": "none"}), "config has review 'none'"),
        (small(config=CONFIG | {"scan_axes": ["wth"]}), "the scan order 'rms' says"),
        (small(tiny_config={"text_dims": [256]}), "tiny_config lacks 'latent_channels'"),
        (small(sampler="rk4"), "unknown sampler 'rk4'"),
        (small(size=100), "size 100 is not a multiple of 8"),
        (small(windows=(9, 9)), "windows is \\(9, 9\\)"),
        (small(planned_sampling={"stpes": 4}, plans=bool), "planned_sampling is .*stpes"),
        (small(planned_sampling={"steps": 4}, plans=None), "planned_sampling without plans"),
        (small(steps=0), "steps is 0; it must be above 0"),
        (small(summary=" "), "it has no summary"),
        (replace(MINI, config={**MINI.config, "ffn_ratio": 2.0}), "another configuration than"),
        (ScanOrder(name="x", summary="", axes=("thw",)), "a ModelVariant is checked here"),
    ],
)
def test_model_variants(variant: Any, message: str | None) -> None:
    error = AssertionError if message else RuntimeError  # what the network raises is not hidden
    with pytest.raises(error, match=message):
        check_model_variant(variant, REGISTRY)


def sampler_of(loop: Any, **changes: Any) -> Sampler:
    return Sampler(name="mine", summary="a loop", build=lambda: loop, **changes)


def in_place(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    def velocity_of_copy(x: Tensor, now: float) -> Tensor:
        return velocity(x.clone(), now)

    noise.copy_(euler(velocity_of_copy, noise, times, on_step))
    return noise


def silent(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    return euler(velocity, noise, times, lambda *_: None)


def short_of_the_end(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    end = euler(velocity, noise, times, on_step)
    return end + 0.01


def beyond(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    velocity(noise, 1.0)
    return euler(velocity, noise, times, on_step)


def by_chance(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    first = True

    def shaken(x: Tensor, now: float) -> Tensor:
        nonlocal first
        v = velocity(x, now)
        shake, first = (0.01 * torch.randn_like(x) if first else 0.0), False
        return v + shake

    return (
        euler(shaken, noise, times, on_step)
        if len(times) == 6
        else euler(velocity, noise, times, on_step)
    )


def swallowing(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    def quiet(*told: Any) -> None:
        try:
            on_step(*told)
        except Exception as error:
            if isinstance(error, AssertionError):
                raise

    return euler(velocity, noise, times, quiet)


def with_memory(velocity: Velocity, noise: Tensor, times: Tensor, on_step: OnStep) -> Tensor:
    """Adams and Bashforth's method of two steps."""
    x, before = noise, None
    points = times.tolist()
    for step in range(len(points) - 1):
        now, after = points[step], points[step + 1]
        v = velocity(x, now)
        estimate = x + (1 - now) * v
        blend = v if before is None else 1.5 * v - 0.5 * before
        x, before = x + (after - now) * blend, v
        on_step(step + 1, len(points) - 1, estimate)
    return x


def test_a_solver_with_a_memory_passes_where_it_claims_nothing() -> None:
    check_sampler(sampler_of(with_memory, schedule="uniform"))


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (sampler_of(in_place), "it changes the noise or the times"),
        (sampler_of(silent), r"in 1 steps it calls on_step with \[\]"),
        (sampler_of(short_of_the_end), "it ends 0.01 away from the clean latents"),
        (sampler_of(beyond), "asks for the velocity at the time 1"),
        (sampler_of(by_chance), "gives other latents the second time"),
        (sampler_of(swallowing), "it goes on when on_step raises"),
        (sampler_of(with_memory, restartable=True), "restartable=True, but from step 1"),
        (sampler_of(euler, schedule="cubic"), "the schedule 'cubic' is unknown; choose from"),
        (sampler_of(euler, guided_after=1.0), "guided_after is 1.0"),
        (sampler_of(None), "build returned a NoneType"),
    ],
)
def test_samplers(sampler: Sampler, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_sampler(sampler)


def test_scan_orders() -> None:
    check_scan_order(ScanOrder(name="columns", summary="columns first", axes=("wth", "htw")))
    with pytest.raises(AssertionError, match="name one order twice"):
        check_scan_order(ScanOrder(name="twice", summary="x", axes=("wth", "wth")))


@pytest.mark.parametrize(
    ("axes", "cells", "message"),
    [
        (("curl-thw", "curl-wht"), lambda count: range(count)[::-1], None),
        (("curl-thw",), lambda count: [0] * count, "does not meet every cell of 2x3x5 once"),
        (("spiral-thw",), range, "nobody knows the curve 'spiral'"),
    ],
)
def test_curves(
    monkeypatch: pytest.MonkeyPatch,
    axes: tuple[str, ...],
    cells: Callable[[int], Iterable[int]],
    message: str | None,
) -> None:
    monkeypatch.setitem(CURVES, "curl", None)  # and it is gone afterwards
    order = ScanOrder(
        name="curl",
        summary="a curve of its own",
        axes=axes,
        curve=lambda grid: torch.tensor(list(cells(grid[0] * grid[1] * grid[2]))),
    )
    if message is None:
        check_scan_order(order)
        return
    with pytest.raises(AssertionError, match=message):
        check_scan_order(order)


def encoder(**methods: Any) -> TextEncoder:
    config = {**WORDS.config, "words": ["a", "red", "ball"]}
    return replace(WORDS, config=config, build=lambda c: module_with(WORDS.build(c), **methods))


def all_real(tokens: Tensor) -> tuple[Tensor, Tensor]:
    features, mask = WORDS.build(WORDS.config).eval()(tokens.clamp(max=2))
    return features, torch.ones_like(mask)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (encoder(forward=lambda tokens: tokens), "it does not return two things"),
        (encoder(forward=lambda tokens: (tokens, tokens)), "its mask is no boolean tensor"),
        (encoder(forward=all_real), "the mask must leave out the padding"),
        (encoder(unknown_words=lambda prompt: prompt), "unknown_words"),
        (encoder(tokens=None), "no method tokens"),
        (replace(WORDS, feature_dim=7), r"it must be \(3, 64, 7\)"),
    ],
)
def test_text_encoders(wrong: TextEncoder, message: str) -> None:
    check_text_encoder(encoder())
    with pytest.raises(AssertionError, match=message):
        check_text_encoder(wrong)


class LooksAtPadding(nn.Module):
    """Features that depend on how long the longest prompt is."""

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        rows = [[1, *(2 for _ in prompt.split())][:20] for prompt in prompts]
        longest = max(map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows])

    def unknown_words(self, prompt: str) -> list[str]:
        return []

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return tokens[..., None].float() * tokens.shape[1], tokens > 0


def test_a_text_encoder_that_looks_at_the_padding() -> None:
    looks = TextEncoder(
        name="looks", summary="x", build=lambda config: LooksAtPadding(), feature_dim=1
    )
    with pytest.raises(AssertionError, match="other features beside a longer prompt than alone"):
        check_text_encoder(looks)


SMALL_TAE = replace(TAE, config={**TAE.config, "widths": [8, 8, 8]})


def codec(**methods: Any) -> Autoencoder:
    build = SMALL_TAE.build
    return replace(SMALL_TAE, build=lambda config: module_with(build(config), **methods))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (replace(SMALL_TAE, latent_channels=4), "encode of a video of 1 frames"),
        (replace(SMALL_TAE, space_stride=16), "encode of a video of 1 frames"),
        (codec(decode=lambda latents: torch.zeros(1, 3, 1, 8, 8)), "decode of a video"),
        (codec(decode=None), "no method decode"),
        (codec(encode=lambda video: torch.rand(1, 16, 1, 1, 2)), "other latents the second time"),
        (
            codec(decode_in_chunks=lambda latents, _: [torch.zeros(1, 3, 1, 8, 16)]),
            "decode_in_chunks gives",
        ),
    ],
)
def test_autoencoders(wrong: Autoencoder, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_autoencoder(wrong)


def dataset(**changes: Any) -> Dataset:
    names = ("FPS", "sample_scene", "caption", "render", "vocabulary")
    parts = {name: getattr(playground, name) for name in names} | changes

    def build(config: Mapping[str, Any]) -> Any:
        if config:
            raise ValueError("no settings")
        return SimpleNamespace(**parts)

    return Dataset(name="mine", summary="shapes", build=build)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dataset(render=None), "no function render"),
        (dataset(FPS=0), "FPS is 0"),
        (dataset(vocabulary=lambda: ["a"]), "which vocabulary\\(\\) lacks"),
        (dataset(caption=lambda scene, seed, still: "a"), "all captions are the same"),
        (dataset(caption=lambda scene, seed, still: "a\nball"), "it must be one line"),
        (dataset(sample_scene=lambda seed: playground.sample_scene(1)), "scenes of other seeds"),
        (dataset(render=lambda s, f, n, start=0: playground.render(s, f, n) * 3), "to 3"),
        (
            dataset(render=lambda s, f, n, start=0: playground.render(s, f, n)),
            "a clip that starts a frame later",
        ),
        (replace(dataset(), build=lambda config: playground), "takes a setting that does not"),
    ],
)
def test_datasets(wrong: Dataset, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_dataset(wrong)


class Whole:
    """A plugin with a scan order, a model that uses it, and a sampler."""

    @hookimpl
    def register_scan_orders(self) -> list[ScanOrder]:
        return [ScanOrder(name="columns", summary="columns first", axes=("wth",))]

    @hookimpl
    def register_model_variants(self) -> list[ModelVariant]:
        return [replace(small(scan_order="columns"), name="column-model")]


class Misspelt:
    @hookimpl
    def register_scan_order(self) -> list[ScanOrder]:
        return []


class Nothing:
    @hookimpl
    def register_scan_orders(self) -> list[ScanOrder]:
        return []


class Quits:
    @hookimpl
    def register_samplers(self) -> None:
        raise SystemExit(3)


def test_a_whole_plugin_with_parts_of_its_own() -> None:
    check_plugin(Whole())


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (Misspelt(), "unknown hook 'register_scan_order'"),
        (Nothing(), "its hooks return no records"),
        (object(), "it has no hook; put `@hookimpl` above each hook: register_model_variants"),
        (Quits(), "lingen would skip it; SystemExit: 3"),
        ([], "unhashable type"),
    ],
)
def test_whole_plugins(plugin: object, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_plugin(plugin)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import torch", "importing heavy_plugin imports torch; import torch inside `build`"),
        ("import lingen_models.pipelines.text_to_video", "heavy_plugin imports torch"),
        ("", None),
    ],
)
@pytest.mark.e2e
def test_torch_is_not_imported_before_build_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str | None
) -> None:
    monkeypatch.setattr(claims, "_weight_of", WEIGHT_OF)
    WEIGHT_OF.cache_clear()
    (tmp_path / "heavy_plugin.py").write_text(
        f"{source}\ndef build():\n"
        "    from lingen_models.sampling.denoise import euler\n    return euler\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "heavy_plugin", raising=False)
    import heavy_plugin  # type: ignore[import-not-found]

    sampler = Sampler(name="heavy", summary="x", build=heavy_plugin.build)
    if message is None:
        check_sampler(sampler)
        return
    with pytest.raises(AssertionError, match=message):
        check_sampler(sampler)
