from pathlib import Path
from typing import Any

import pytest

from lingen_models.network_config import SCAN_ORDERS
from lingen_plugins import (
    DuplicateNameError,
    ModelVariant,
    PluginError,
    ScanOrder,
    UnknownNameError,
    Weights,
    hookimpl,
)
from lingen_plugins.manager import PluginManager
from lingen_plugins.registry import Registry, collect


def variant(name: str = "echo", **changes: Any) -> ModelVariant:
    fields: dict[str, Any] = {
        "name": name,
        "summary": "returns its input",
        "build": dict,
        "config": {},
        "tiny_config": {},
        "autoencoder": "tae",
        "text_encoders": ("playground-words",),
        "scan_order": "rms",
        "review": "none",
        "sampler": "euler",
    }
    return ModelVariant(**fields | changes)


class Offers:
    """A plugin that registers the given variants."""

    def __init__(self, *variants: object) -> None:
        self.variants = variants

    @hookimpl
    def register_model_variants(self) -> tuple[object, ...]:
        return self.variants


@pytest.fixture
def manager() -> PluginManager:
    manager = PluginManager()
    manager.load_builtin()
    return manager


def test_the_built_in_zoo(manager: PluginManager) -> None:
    registry = collect(manager)
    assert set(registry.model_variants) == {
        *("lingen-mini", "lingen-4b", "dit-mini", "lingen-mini-no-review", "lingen-mini-row-major"),
        *("lingen-mini-review-front", "lingen-mini-zigzag", "lingen-mini-hilbert"),
        *("lingen-mini-no-tesa", "lingen-mini-no-mamba", "lingen-mini-4step"),
    }
    assert set(registry.scan_orders) == set(SCAN_ORDERS)
    assert registry.scan_orders["rms"].axes == ("thw", "twh", "hwt", "wht")
    assert set(registry.samplers) == {
        *("euler", "euler-ancestral", "euler-late", "euler-shifted", "euler-uniform"),
        *("dpm-multistep", "heun"),
    }
    assert set(registry.datasets) == {"playground"}
    assert registry.model_variants["lingen-4b"].weights is None


def test_other_plugins_are_collected_with_their_owner(manager: PluginManager) -> None:
    manager.pluggy.register(Offers(variant("echo")), name="echo-plugin")
    variants = collect(manager).model_variants
    assert "echo" in variants
    assert variants.owner("echo") == "echo-plugin"
    assert variants.owner("lingen-mini") == "variants"


def test_the_later_of_two_plugins_with_one_name_is_skipped_and_both_are_named(
    manager: PluginManager,
) -> None:
    manager.pluggy.register(Offers(variant("echo", steps=1)), name="a")
    manager.pluggy.register(Offers(variant("echo", steps=2)), name="b")
    variants = collect(manager).model_variants
    assert (variants["echo"].steps, variants.owner("echo")) == (1, "a")
    (failed,) = manager.failed
    assert failed.name == "b" and failed.reason == (
        "DuplicateNameError: model 'echo' is registered by both 'a' and 'b'; that of 'a' is used"
    )


def test_what_is_built_in_keeps_its_name(manager: PluginManager) -> None:
    manager.pluggy.register(Offers(variant("lingen-mini", steps=1)), name="thief")
    variants = collect(manager).model_variants
    assert variants.owner("lingen-mini") == "variants"
    assert [failed.name for failed in manager.failed] == ["thief"]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"weights": "folder"}, "weights must be a Weights | None, not a str"),
        ({"weights": Weights(package="no_such_package_at_all", folder="w")}, "not installed"),
        ({"weights": Weights(folder="w" * 5000)}, "its weights cannot be located"),
        ({"text_encoders": "playground-words"}, "text_encoders must be a tuple[str, ...]"),
        ({"windows": (33,)}, "windows must be a tuple[int, int]"),
        ({"review": "back"}, "review must be a Literal['front', 'both', 'none']"),
        ({"build": None}, "build must be a Callable[[Config], nn.Module]"),
        ({"config": []}, "config must be a Config, not a list"),
        ({"steps": True}, "steps must be a int, not a bool"),
        ({"guidance": "strong"}, "guidance must be a float, not a str"),
        ({"summary": "red \x1b[31m"}, "summary holds a line break or a control character"),
        ({"summary": "s" * 201}, "summary is longer than 200 letters"),
        ({"config": {"a": [{"b\n": 1}]}}, "config holds a line break"),
        ({"name": "../x"}, "a name that cannot be written"),
        ({"name": "--help"}, "a name that cannot be written"),
        ({"name": "\x1b[31mred"}, "a name that cannot be written"),
        ({"name": "n" * 65}, "name is longer than 64 letters"),
    ],
)
def test_a_record_that_is_not_what_it_says_is_skipped(
    manager: PluginManager, wrong: dict[str, Any], reason: str
) -> None:
    manager.pluggy.register(Offers(variant(**wrong)), name="wrong")
    variants = collect(manager).model_variants
    assert {variants.owner(name) for name in variants} == {"variants"}
    (failed,) = manager.failed
    assert failed.name == "wrong" and reason in failed.reason


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"autoencoder": "tea"}, "unknown autoencoder 'tea'; did you mean 'tae'?"),
        ({"scan_order": "spiral"}, "unknown scan order 'spiral'"),
        ({"sampler": "rk4"}, "unknown sampler 'rk4'"),
        ({"text_encoders": ("ul2",)}, "unknown text encoder 'ul2'"),
    ],
)
def test_a_variant_that_names_nothing_known_is_skipped_with_its_plugin(
    manager: PluginManager, wrong: dict[str, Any], reason: str
) -> None:
    manager.pluggy.register(Offers(variant("good")), name="good-plugin")
    manager.pluggy.register(Offers(variant("bad", **wrong)), name="bad-plugin")
    variants = collect(manager).model_variants
    assert "good" in variants and "bad" not in variants
    (failed,) = manager.failed
    assert failed.name == "bad-plugin"
    assert reason in failed.reason


def test_a_hook_that_raises_or_returns_something_else_is_skipped(manager: PluginManager) -> None:
    class Raises:
        @hookimpl
        def register_scan_orders(self) -> None:
            raise RuntimeError("no\nluck")

    manager.pluggy.register(Raises(), name="raises")
    manager.pluggy.register(Offers("not a record"), name="strings")
    assert "rms" in collect(manager).scan_orders
    assert {(plugin.name, plugin.reason) for plugin in manager.failed} == {
        ("raises", "RuntimeError: no luck"),
        ("strings", "PluginError: a model must be a ModelVariant, not str"),
    }


def test_an_unknown_name_suggests_the_nearest_or_lists_all(manager: PluginManager) -> None:
    registry = collect(manager)
    with pytest.raises(UnknownNameError, match="did you mean 'lingen-mini'"):
        registry.model_variants["Lingen-mni"]
    with pytest.raises(UnknownNameError, match="known: playground"):
        registry.datasets["zzz"]
    with pytest.raises(UnknownNameError, match="known: none"):
        Registry().samplers["euler"]


def test_a_broken_built_in_is_a_bug_and_is_raised(
    manager: PluginManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lingen_plugins.builtin.variants.PRESETS", {})
    with pytest.raises(KeyError, match="mini"):
        collect(manager)


@pytest.mark.parametrize("axes", [(), ("thw", "tth"), ("th",), ("thwx",)])
def test_scan_orders_are_permutations_of_the_axes(axes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="permutations of 'thw'"):
        ScanOrder(name="odd", summary="", axes=axes)


@pytest.mark.parametrize("name", ["", "Upper", "two words", " blank"])
def test_names_are_lower_case_without_spaces(name: str) -> None:
    with pytest.raises(ValueError, match="lower case"):
        ScanOrder(name=name, summary="", axes=("thw",))


def test_weights_are_found_without_importing_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "weighty_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    weights = Weights(package="weighty_package", folder="w", text_encoders=("a.bin", "b.bin"))
    assert weights.files() == {
        "denoiser": package / "w" / "denoiser.safetensors",
        "autoencoder": package / "w" / "autoencoder.safetensors",
        "text_encoder": package / "w" / "a.bin",
        "text_encoder_2": package / "w" / "b.bin",
    }
    with pytest.raises(ValueError, match="not installed"):
        Weights(package="no_such_package_at_all", folder="w").files()


DOWNLOAD: dict[str, Any] = {
    "repository": "someone/video",
    "revision": "0" * 40,
    "sha256": dict.fromkeys(("denoiser", "autoencoder", "text_encoder"), "f" * 64),
    "sizes": dict.fromkeys(("denoiser", "autoencoder", "text_encoder"), 5),
}


def test_weights_of_the_hub_lie_in_its_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", "/cache")
    root = Path("/cache/models--someone--video/snapshots") / ("0" * 40)
    assert Weights(**DOWNLOAD, folder="mini").root() == root / "mini"
    assert Weights(**DOWNLOAD).files()["denoiser"] == root / "denoiser.safetensors"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"repository": "video"}, "the repository must be 'owner/name', not 'video'"),
        ({"repository": "someone/../video"}, "must be 'owner/name'"),
        ({"repository": "some--one/video"}, "must be 'owner/name'"),
        ({"revision": None}, "the revision of someone/video must be a commit"),
        ({"revision": "main"}, "must be a commit, 40 digits"),
        ({"package": "lingen_models"}, "in a package or in a repository, not in both"),
        ({"folder": "../mini"}, "is outside someone/video"),
        ({"denoiser": "/etc/passwd"}, "is outside someone/video"),
        ({"sha256": {"denoiser": "f" * 64}}, "needs the sha256 and the size of autoencoder"),
        ({"sizes": {}}, "needs the sha256 and the size of denoiser"),
        ({"sha256": {"denoiser": "F" * 64}}, "the sha256 of denoiser must be 64 digits"),
        ({"sha256": {"text_encoder_2": "f" * 64}}, "sha256 names 'text_encoder_2'; the parts are"),
        ({"sizes": {"denoiser": 0}}, "the size of denoiser must be a number of bytes"),
        ({"sizes": {"denoiser": True}}, "the size of denoiser must be a number of bytes"),
    ],
)
def test_a_download_is_pinned_or_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Weights(**DOWNLOAD | wrong)


def test_errors_of_plugins_are_one_family() -> None:
    assert issubclass(UnknownNameError, PluginError)
    assert issubclass(DuplicateNameError, PluginError)
