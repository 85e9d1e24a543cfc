"""Steps that borrow from the one before."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from lingen_models.network_config import LinGenConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.sampling.denoise import TextFeatures, sample_latents
from lingen_models.sampling.flow import uniform_times
from lingen_models.sampling.guidance import Guidance
from lingen_models.sampling.step_cache import StepCache

TINY = LinGenConfig(
    width=32, depth=2, head_dim=16, ssm_head_dim=16, state_size=4, text_dims=(64,),
    position_grid=(8, 8, 8), window=(4, 4, 4),
)  # fmt: skip
STEPS = 10


@pytest.fixture(scope="module")
def network() -> LinGen:
    torch.manual_seed(0)
    made = LinGen(TINY).eval().requires_grad_(False)
    for part in made.parameters():
        part.data.add_(torch.randn_like(part) * 0.1)
    return made


def sampled(network: LinGen | StepCache, guided_after: float = 0.05) -> torch.Tensor:
    torch.manual_seed(1)
    mask = torch.ones(1, 5, dtype=torch.bool)
    prompt, negative = (TextFeatures((torch.randn(1, 5, 64),), (mask,)) for _ in range(2))
    return sample_latents(
        network,
        torch.randn(1, 16, 4, 4, 4),
        prompt,
        negative,
        times=uniform_times(STEPS),
        guidance=Guidance(3.0, start=guided_after),
        prefix=torch.randn(1, 16, 1, 4, 4),
    )


def test_a_threshold_of_0_is_the_plain_path(network: LinGen) -> None:
    cache = StepCache(network, 0.0)
    assert torch.equal(sampled(cache), sampled(network))
    assert cache.reused == 0


def test_more_is_borrowed_and_less_is_right_as_the_threshold_rises(network: LinGen) -> None:
    plain = sampled(network)
    reused, errors = [], []
    for threshold in (0.01, 0.3, 100.0):
        cache = StepCache(network, threshold)
        errors.append(float((sampled(cache) - plain).square().mean()))
        reused.append(cache.reused)
    assert reused[0] == errors[0] == 0
    assert 0 < reused[1] < reused[2] == STEPS - 2  # the first of each number of rows is run
    assert 0 < errors[1] < errors[2]


def test_what_is_borrowed_is_what_the_blocks_added_last(network: LinGen) -> None:
    torch.manual_seed(2)
    text, mask = torch.randn(1, 5, 64), torch.ones(1, 5, dtype=torch.bool)
    one, two = torch.randn(2, 1, 16, 4, 4, 4)
    early, late = torch.full((1, 4), 0.3), torch.full((1, 4), 0.4)
    cache = StepCache(network, 100.0)
    assert torch.equal(cache(one, early, (text,), (mask,)), network(one, early, [text], [mask]))
    first = network.embed(one, early, [text], [mask])
    added = network.run_blocks(first) - first.x
    second = network.embed(two, late, [text], [mask])
    wanted = network.head(second.x + added, second.time)
    assert torch.equal(cache(two, late, (text,), (mask,)), wanted)
    assert cache.reused == 1


def test_changes_add_up(network: LinGen) -> None:
    """Each is below the threshold, two are not."""
    torch.manual_seed(2)
    text, mask = torch.randn(1, 5, 64), torch.ones(1, 5, dtype=torch.bool)
    x = torch.randn(1, 16, 4, 4, 4)
    states = [(x * (1 + 0.1 * n), torch.full((1, 4), 0.3 + 0.02 * n)) for n in range(4)]
    signals = [network.first_input(network.embed(*one, [text], [mask])) for one in states]
    changes = [float((new - old).abs().mean() / old.abs().mean()) for old, new in pairwise(signals)]
    cache = StepCache(network, 1.5 * max(changes))
    reused = []
    for one in states:
        cache(*one, (text,), (mask,))
        reused.append(cache.reused)
    assert reused == [0, 1, 1, 2]


def test_row_by_row_is_the_same_but_for_the_last_bits(network: LinGen) -> None:
    rows = sampled(StepCache(network, 0.3, one_row=True))
    torch.testing.assert_close(rows, sampled(StepCache(network, 0.3)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("threshold", [-0.1, float("nan")])
def test_thresholds_that_are_none(network: LinGen, threshold: float) -> None:
    with pytest.raises(ValueError, match="a threshold of at least 0"):
        StepCache(network, threshold)
