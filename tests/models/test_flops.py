"""The FLOP formulas against what torch counts on real networks, product by product."""

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lingen_models.flops import PARTS, step_flops, token_grid
from lingen_models.network_config import LinGenConfig
from lingen_models.networks.denoiser import LinGen

SMALL = LinGenConfig(
    width=64,
    depth=2,
    head_dim=32,
    ssm_head_dim=32,
    state_size=16,
    chunk=16,
    window=(4, 2, 2),
    text_dims=(24, 40),
    position_grid=(8, 4, 4),
)
SHAPE = (5, 6, 10)


def counted(
    config: LinGenConfig,
    shape: tuple[int, int, int],
    texts: tuple[int, ...],
    *,
    batch: int = 1,
    device: str = "cpu",
) -> dict[Any, int]:
    """What torch counts, by the name of the module."""
    with torch.device(device):
        network = LinGen(config).eval()
        latents = torch.zeros(batch, config.latent_channels, *shape)
        t = torch.zeros(batch, shape[0])
        features = [torch.zeros(batch, m, d) for m, d in zip(texts, config.text_dims, strict=True)]
        masks = [torch.ones(batch, m, dtype=torch.bool) for m in texts]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(latents, t, features, masks)
    return {name: sum(found.values()) for name, found in counter.get_flop_counts().items()}


CASES = {
    "lingen": SMALL,
    "twin": replace(SMALL, mixer="attention"),
    "front": replace(SMALL, review="front", review_pool=(1, 2, 2), merge="quasiseparable"),
    "no review": replace(SMALL, review="none"),
    "no tesa": replace(SMALL, tesa_branch=False, expand=1, ffn_ratio=2.7, conv_width=5),
    "no mamba": replace(SMALL, mamba_branch=False, window=(16, 4, 4)),
    "no patch": replace(SMALL, patch=(1, 1, 1), chunk=64, latent_channels=3),
    "flat patch": replace(SMALL, patch=(1, 1, 2), scan_axes=("zigzag-thw",)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("shape", "batch"), [(SHAPE, 1), ((1, 2, 2), 1), ((9, 4, 14), 2)])
def test_the_formulas_give_what_torch_counts(
    name: str, shape: tuple[int, int, int], batch: int
) -> None:
    config = CASES[name]
    told = step_flops(config, shape, text_tokens=(7, 3), batch=batch)
    assert sum(told.values()) == counted(config, shape, (7, 3), batch=batch)["Global"]


@pytest.mark.parametrize("mixer", ["mate", "attention"])
def test_each_part_is_what_its_modules_take(mixer: Literal["mate", "attention"]) -> None:
    config = replace(SMALL, mixer=mixer)
    found = counted(config, SHAPE, (7, 3))

    def of(*names: str) -> int:
        return sum(n for name, n in found.items() if any(name.endswith(end) for end in names))

    told = step_flops(config, SHAPE, text_tokens=(7, 3))
    assert set(told) == set(PARTS)
    assert told["embedding"] == of(".patch_in", ".patch_out") > 0
    assert told["time"] == of(".timestep", ".time_modulation", ".final_modulation") > 0
    assert told["text"] == of(".text_in.0", ".text_in.1", ".cross_attention") > 0
    assert told["ffn"] == of(".feed_forward") > 0
    assert told["tesa"] == of(".tesa_branch")
    assert told["ma"] + told["scan"] + told["review"] == of(".mamba_branch")
    assert told["attention"] == (of(".mixer") if mixer == "attention" else 0)


def test_the_twin_of_4b_on_the_meta_device() -> None:
    config = LinGenConfig(width=2560, depth=1, head_dim=128, text_dims=(4096,))
    shape = (4, 24, 44)
    told = step_flops(config, shape, text_tokens=256, batch=2)
    assert sum(told.values()) == counted(config, shape, (256,), batch=2, device="meta")["Global"]


def test_what_grows_how() -> None:
    def step(mixer: Literal["mate", "attention"], frames: int) -> float:
        config = replace(SMALL, mixer=mixer)
        return sum(step_flops(config, (frames, 8, 8), text_tokens=8).values())

    assert step("mate", 4000) / step("mate", 2000) == pytest.approx(2, rel=1e-3)
    assert step("attention", 400_000) / step("attention", 200_000) == pytest.approx(4, rel=0.01)


def test_one_number_of_text_tokens_is_for_every_encoder() -> None:
    assert step_flops(SMALL, SHAPE, text_tokens=5) == step_flops(SMALL, SHAPE, text_tokens=(5, 5))


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="5x6 are not divided by the 2x2 patch"):
        token_grid(SMALL, (1, 5, 6))
    with pytest.raises(ValueError, match="1 texts for 2 text encoders"):
        step_flops(SMALL, SHAPE, text_tokens=(5,))
