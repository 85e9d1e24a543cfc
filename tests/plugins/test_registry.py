import pytest

from lingen_models.config import SCAN_ORDERS
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


def variant(name="echo", **changes):
    fields = {
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

    def __init__(self, *variants):
        self.variants = variants

    @hookimpl
    def register_model_variants(self):
        return self.variants


@pytest.fixture
def manager():
    manager = PluginManager()
    manager.load_builtin()
    return manager


def test_the_built_in_zoo(manager):
    registry = collect(manager)
    assert set(registry.model_variants) == {
        *("lingen-mini", "lingen-4b", "dit-mini", "lingen-mini-no-review", "lingen-mini-row-major"),
        *("lingen-mini-review-front", "lingen-mini-zigzag", "lingen-mini-hilbert"),
        *("lingen-mini-no-tesa", "lingen-mini-no-mamba"),
    }
    assert set(registry.scan_orders) == set(SCAN_ORDERS)
    assert registry.scan_orders["rms"].axes == ("thw", "twh", "hwt", "wht")
    assert set(registry.samplers) == {
        *("euler", "euler-ancestral", "euler-late", "euler-uniform", "dpm-multistep", "heun")
    }
    assert set(registry.datasets) == {"playground"}
    assert registry.model_variants["lingen-4b"].weights is None


def test_other_plugins_are_collected_with_their_owner(manager):
    manager.pluggy.register(Offers(variant("echo")), name="echo-plugin")
    variants = collect(manager).model_variants
    assert "echo" in variants
    assert variants.owner("echo") == "echo-plugin"
    assert variants.owner("lingen-mini") == "variants"


def test_two_plugins_with_one_name_are_both_blamed(manager):
    manager.pluggy.register(Offers(variant("echo")), name="a")
    manager.pluggy.register(Offers(variant("echo")), name="b")
    with pytest.raises(DuplicateNameError) as caught:
        collect(manager)
    assert "'a'" in str(caught.value) and "'b'" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"autoencoder": "tea"}, "unknown autoencoder 'tea'; did you mean 'tae'?"),
        ({"scan_order": "spiral"}, "unknown scan order 'spiral'"),
        ({"sampler": "rk4"}, "unknown sampler 'rk4'"),
        ({"text_encoders": ("t5",)}, "unknown text encoder 't5'"),
    ],
)
def test_a_variant_that_names_nothing_known_is_skipped_with_its_plugin(manager, wrong, reason):
    manager.pluggy.register(Offers(variant("good")), name="good-plugin")
    manager.pluggy.register(Offers(variant("bad", **wrong)), name="bad-plugin")
    variants = collect(manager).model_variants
    assert "good" in variants and "bad" not in variants
    (failed,) = manager.failed
    assert failed.name == "bad-plugin"
    assert reason in failed.reason


def test_a_hook_that_raises_or_returns_something_else_is_skipped(manager):
    class Raises:
        @hookimpl
        def register_scan_orders(self):
            raise RuntimeError("no\nluck")

    manager.pluggy.register(Raises(), name="raises")
    manager.pluggy.register(Offers("not a record"), name="strings")
    assert "rms" in collect(manager).scan_orders
    assert {(plugin.name, plugin.reason) for plugin in manager.failed} == {
        ("raises", "RuntimeError: no luck"),
        ("strings", "PluginError: a model must be a ModelVariant, not str"),
    }


def test_an_unknown_name_suggests_the_nearest_or_lists_all(manager):
    registry = collect(manager)
    with pytest.raises(UnknownNameError, match="did you mean 'lingen-mini'"):
        registry.model_variants["Lingen-mni"]
    with pytest.raises(UnknownNameError, match="known: playground"):
        registry.datasets["zzz"]
    with pytest.raises(UnknownNameError, match="known: none"):
        Registry().samplers["euler"]


def test_a_broken_built_in_is_a_bug_and_is_raised(manager, monkeypatch):
    monkeypatch.setattr("lingen_plugins.variants.PRESETS", {})
    with pytest.raises(KeyError, match="mini"):
        collect(manager)


@pytest.mark.parametrize("axes", [(), ("thw", "tth"), ("th",), ("thwx",)])
def test_scan_orders_are_permutations_of_the_axes(axes):
    with pytest.raises(ValueError, match="permutations of 'thw'"):
        ScanOrder(name="odd", summary="", axes=axes)


@pytest.mark.parametrize("name", ["", "Upper", "two words", " blank"])
def test_names_are_lower_case_without_spaces(name):
    with pytest.raises(ValueError, match="lower case"):
        ScanOrder(name=name, summary="", axes=("thw",))


def test_weights_are_found_without_importing_their_package(tmp_path, monkeypatch):
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


def test_errors_of_plugins_are_one_family():
    assert issubclass(UnknownNameError, PluginError)
    assert issubclass(DuplicateNameError, PluginError)
