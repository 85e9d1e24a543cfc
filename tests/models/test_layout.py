"""Layouts: paths, their maps against plain loops, and what a pipeline does with them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import pytest
import torch

from lingen_models.network_config import LinGenConfig, TAEConfig, WordsConfig
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.embeddings import (
    LayoutEmbedding,
    LayoutFeatures,
    disc_maps,
    pooled,
    stack_layouts,
)
from lingen_models.networks.video_autoencoder import TemporalAutoencoder
from lingen_models.networks.word_encoder import WordEncoder
from lingen_models.pipelines.text_to_video import TextToVideo
from lingen_models.sampling.conditioning import Conditioning
from lingen_models.sampling.denoise import TextFeatures
from lingen_models.sampling.layout import Keyframe, Layout, LayoutObject, latent_instants
from lingen_models.sampling.params import SamplingParams

CONFIG = LinGenConfig(
    width=16, depth=1, head_dim=8, ssm_head_dim=8, text_dims=(8,), layout=True, window=(4, 2, 2)
)


def path(*keys: tuple[float, ...]) -> tuple[Keyframe, ...]:
    return tuple(Keyframe(*key) for key in keys)


def test_an_object_moves_in_straight_lines_between_its_keyframes() -> None:
    keys = path((4, 0.2, 0.5, 0.1), (8, 0.6, 0.1, 0.2, 360), (10, 0.6, 0.3, 0.2, 360))
    ball = LayoutObject("ball", keys)
    for frame, *expected in (
        (0, 0.2, 0.5, 0.1, 0),
        (4, 0.2, 0.5, 0.1, 0),
        (7, 0.5, 0.2, 0.175, 270),
        (9, 0.6, 0.2, 0.2, 360),
        (10, 0.6, 0.3, 0.2, 360),
        (1000, 0.6, 0.3, 0.2, 360),
    ):
        at = ball.at(frame)
        assert at.frame == frame
        assert (at.x, at.y, at.radius, at.angle) == pytest.approx(expected)


def test_paths_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="keyframes at increasing times"):
        LayoutObject("ball", ())
    for frames in ((3, 1), (2, 2)):
        with pytest.raises(ValueError, match="keyframes at increasing times"):
            LayoutObject("ball", path(*((frame, 0.5, 0.5, 0.1) for frame in frames)))
    with pytest.raises(ValueError, match="a radius above 0, not 0"):
        Keyframe(0, 0.5, 0.5, 0.0)


def test_one_layout_follows_another() -> None:
    ball = LayoutObject("ball", path((0, 0.2, 0.5, 0.1)))
    star = LayoutObject("star", path((8, 0.7, 0.5, 0.1)))
    both = Layout((ball,)).then(Layout((star,)), 8)
    for frame, there in ((0, ["ball"]), (7.5, ["ball"]), (8, ["star"]), (900, ["star"])):
        assert [one.phrase for one in both.objects if one.is_there(frame)] == there
    third = both.then(Layout((ball,)), 4)
    assert [(one.phrase, one.first, one.end) for one in third.objects] == [
        ("ball", -math.inf, 4),
        ("ball", 4, math.inf),
    ]


def test_frames_are_counted_from_another_one() -> None:
    ball = LayoutObject("ball", path((4, 0.2, 0.5, 0.1), (8, 0.6, 0.1, 0.2)), first=2, end=9)
    (moved,) = Layout((ball,)).since(3).objects
    assert (moved.first, moved.end) == (-1, 6)
    for frame in (0.0, 2.5, 7.0):
        one, other = ball.at(frame + 3), moved.at(frame)
        assert (one.x, one.y, one.radius) == (other.x, other.y, other.radius)


def test_latent_frames_have_instants_from_their_first_image_to_their_last() -> None:
    assert latent_instants(range(3), 8) == [(0, 0, 0), (1, 4.5, 8), (9, 12.5, 16)]
    assert latent_instants([7], 4) == [(25, 26.5, 28)]


def test_the_maps_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    discs = torch.rand(2, 3, 2, 3, 5, dtype=torch.float64) * 5
    discs[..., 4] = 1
    discs[1, :, 1] = 0
    maps, places = disc_maps(discs, (4, 5))
    assert maps.shape == (2, 3, 2, 4, 5, 56) and places.shape == (2, 3, 2, 4, 5, 6)

    def channels(
        row: int, frame: int, obj: int, line: int, column: int, instant: int = 1
    ) -> list[float]:
        frame = min(max(frame, 0), 2)
        x, y, radius, _, there = discs[row, frame, obj, instant].tolist()
        across, down = x - column - 0.5, y - line - 0.5
        distance = math.hypot(across, down)
        occupied = there / (1 + math.exp(-4 * (radius + 0.3 - distance)))
        bump = there * math.exp(-(distance**2) / 4.5)
        return [
            *(occupied, occupied * across, occupied * down, occupied * radius),
            *(bump, bump * across, bump * down, there),
        ]

    for place in torch.cartesian_prod(*(torch.arange(n) for n in (2, 3, 2, 4, 5))).tolist():
        row, frame, obj, line, column = place
        now = channels(*place)
        next_, last, last_but_one = (
            channels(row, other, obj, line, column) for other in (frame + 1, frame - 1, frame - 2)
        )
        first, end = (
            channels(row, frame, obj, line, column, instant=instant) for instant in (0, 2)
        )
        expected = [*now]
        for other in (next_, last, last_but_one, first, end):
            expected += [b - a for a, b in zip(now, other, strict=True)]
        angle = float(discs[row, frame, obj, 1, 3])
        for times in (1, 3, 4, 5):
            expected += [now[0] * (math.cos(times * angle) - 1), now[0] * math.sin(times * angle)]
        found = maps[tuple(place)]
        torch.testing.assert_close(found, 16 * torch.tensor(expected), rtol=1e-4, atol=1e-4)
        where = [now[0], now[4], last[0], last_but_one[0], first[0], end[0]]
        torch.testing.assert_close(places[tuple(place)], torch.tensor(where), rtol=1e-4, atol=1e-5)


def features(rows: int = 1, frames: int = 2, count: int = 2) -> LayoutFeatures:
    discs = torch.rand(rows, frames, count, 3, 5) * 3
    discs[..., 4] = 1
    return LayoutFeatures(discs, torch.randn(rows, count, 8))


def learnt() -> LayoutEmbedding:
    embedding = LayoutEmbedding(16, 8)
    for part in embedding.parameters():
        torch.nn.init.normal_(part)
    return embedding


def test_the_order_of_objects_and_absent_ones_count_for_nothing() -> None:
    torch.manual_seed(1)
    embedding, layout = learnt(), features()
    found = embedding(layout, (4, 4))
    turned = LayoutFeatures(layout.discs.flip(2), layout.phrases.flip(1))
    torch.testing.assert_close(embedding(turned, (4, 4)), found)
    absent = LayoutFeatures(
        torch.cat((layout.discs, torch.zeros(1, 2, 1, 3, 5)), 2),
        torch.cat((layout.phrases, torch.randn(1, 1, 8)), 1),
    )
    torch.testing.assert_close(embedding(absent, (4, 4)), found)
    assert embedding(layout.blank(3), (4, 4)).abs().sum() == 0


def test_phrases_are_bound_to_their_place() -> None:
    torch.manual_seed(2)
    embedding, layout = learnt(), features()
    swapped = LayoutFeatures(layout.discs, layout.phrases.flip(1))
    assert not torch.allclose(embedding(swapped, (4, 4)), embedding(layout, (4, 4)))


def test_what_was_there_before_is_known() -> None:
    """The phrase of an object that has left is given to its place for two more frames."""
    torch.manual_seed(5)
    embedding = LayoutEmbedding(16, 8)
    embedding.reset_parameters()
    torch.nn.init.normal_(embedding.phrase_in.weight)
    ways = torch.tensor([[[0.5, 0.5, 0.5, 0, 1.0]], *[[[90.0, 90.0, 0.5, 0, 1.0]]] * 4])
    discs = ways[None, :, :, None].expand(1, 5, 1, 3, 5)
    found = embedding(LayoutFeatures(discs, torch.ones(1, 1, 8)), (2, 2))
    assert [bool(found[0, frame, 0, 0].abs().max() > 1e-3) for frame in range(5)] == [
        *(True, True, True, False, False)
    ]


def test_layouts_of_several_rows_are_stacked() -> None:
    one, two = features(count=1), features(rows=2, count=3)
    found = stack_layouts([one, None, two], [1, 2, 2])
    assert found is not None
    assert found.discs.shape == (5, 2, 3, 3, 5) and found.phrases.shape == (5, 3, 8)
    torch.testing.assert_close(found.discs[:1, :, :1], one.discs)
    assert found.discs[0, :, 1:].abs().sum() == found.discs[1:3].abs().sum() == 0
    torch.testing.assert_close(found.row(4).phrases, two.row(1).phrases)
    assert stack_layouts([None, None]) is None


def test_a_phrase_is_the_mean_of_its_words() -> None:
    said = torch.randn(2, 4, 8)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]], dtype=torch.bool)
    found = pooled(said, mask)
    torch.testing.assert_close(found[0], said[0, 1:3].mean(0))
    assert found[1].abs().sum() == 0


def ask(network: LinGen, layout: LayoutFeatures | None) -> torch.Tensor:
    torch.manual_seed(4)
    latents, t, text = torch.randn(1, 16, 2, 8, 8), torch.rand(1, 2), torch.randn(1, 3, 8)
    mask = torch.ones(1, 3, dtype=torch.bool)
    found: torch.Tensor = network(latents, t, [text], [mask], 0, layout)
    return found


def test_a_denoiser_begins_without_its_layout_and_learns_from_it() -> None:
    torch.manual_seed(3)
    network = LinGen(CONFIG)
    torch.nn.init.normal_(network.patch_out.weight)
    layout = features()
    found = ask(network, layout)
    torch.testing.assert_close(found, ask(network, None))
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    assert network.layout_in is not None
    for part in network.layout_in.parameters():
        assert part.grad is not None and part.grad.abs().sum() > 0


def test_a_denoiser_without_layouts_refuses_one() -> None:
    network = LinGen(LinGenConfig.from_dict({**CONFIG.to_dict(), "layout": False}))
    with pytest.raises(ValueError, match="takes no layout"):
        ask(network, features())


class Planner:
    """A planner that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, list[float]]] = []

    def __call__(
        self,
        prompt: str,
        seed: int,
        frames: Sequence[float],
        before: Layout | None,
        unknown: Collection[str],
    ) -> Layout | None:
        self.calls.append((prompt, seed, list(frames)))
        if not prompt:
            return None
        keys = tuple(Keyframe(frame, frame / 100, 0.5, 0.2, 90.0) for frame in frames)
        return Layout((LayoutObject(prompt, keys),))


class Listener(LinGen):
    """A denoiser that remembers the layouts that it was given."""

    def forward(self, *arguments: Any) -> torch.Tensor:
        self.seen = [*getattr(self, "seen", []), *(arguments[5:] or (None,))]
        return super().forward(*arguments)


def pipeline(config: LinGenConfig = CONFIG) -> TextToVideo:
    torch.manual_seed(0)
    codec = TAEConfig(latent_channels=16, widths=(8, 8, 8), depths=(1, 1, 1))
    words = WordsConfig(words=("red", "ball"), width=8, depth=1, head_dim=4)
    pipe = TextToVideo(Listener(config), TemporalAutoencoder(codec), [WordEncoder(words)])
    pipe.planner = Planner()
    return pipe


def seen(pipe: TextToVideo) -> list[LayoutFeatures | None]:
    assert isinstance(pipe.denoiser, Listener)
    return list(pipe.denoiser.seen)


PARAMS = SamplingParams(steps=1, seed=3)


def test_a_new_video_has_the_planned_layout_and_what_guides_it_has_none() -> None:
    pipe = pipeline()
    pipe.sample(Conditioning("red ball"), PARAMS, frames=9, height=32, width=64)
    assert isinstance(pipe.planner, Planner)
    assert pipe.planner.calls == [("red ball", 3, [0.0, 1.0, 4.5, 8.0])]
    (layout,) = seen(pipe)
    assert layout is not None and layout.discs.shape == (2, 2, 1, 3, 5)
    x = torch.tensor([[0.0, 0.0, 0.0], [0.01, 0.045, 0.08]]) * 4  # 2 x 4 tokens
    torch.testing.assert_close(layout.discs[0, :, 0, :, 0], x)
    expected = torch.tensor([1.0, 0.8, math.pi / 2, 1.0]).expand(2, 3, 4)
    torch.testing.assert_close(layout.discs[0, :, 0, :, 1:], expected)
    assert layout.discs[1].abs().sum() == 0


def test_what_a_plan_adds_to_the_prompt_is_read() -> None:
    """`red ball` gets its words from the plan, in a new video and in what goes on with it."""
    pipe = pipeline()
    own = Layout((LayoutObject("ball", path((0, 0.5, 0.5, 0.25))),), "red ball red")
    asked: list[list[str]] = []
    encode = pipe.encode_texts

    def encode_texts(prompts: Sequence[str]) -> TextFeatures:
        asked.append(list(prompts))
        return encode(prompts)

    pipe.encode_texts = encode_texts  # type: ignore[method-assign]
    pipe.sample(Conditioning("red ball", layout=own), PARAMS, frames=9, height=32, width=32)
    assert ["red ball red"] in asked and ["red ball"] not in asked
    asked.clear()
    history = torch.zeros(1, 16, 2, 4, 4)
    condition = Conditioning("red ball", layout=own)
    list(pipe.extend(history, 2, condition, PARAMS, windows=(4, 1)))
    assert ["red ball red"] in asked and ["red ball"] not in asked
    later = own.then(Layout((LayoutObject("star", path((0, 0.5, 0.5, 0.25))),)), 8)
    assert later.prompt == ""


@pytest.mark.parametrize("at", [0.0, 0.5])
def test_a_plan_goes_on_from_what_is_seen_in_a_first_image(at: float) -> None:
    """The planner below begins at the left edge: what is seen there goes on, and else nothing."""
    pipe = pipeline()
    pipe.locator = lambda image: Layout((LayoutObject("ball", path((0, at, 0.5, 0.2))),))
    first = torch.zeros(32, 32, 3, dtype=torch.uint8)
    pipe.sample(Conditioning("red ball", first_frame=first), PARAMS, frames=9, height=32, width=32)
    (layout,) = seen(pipe)
    if at:
        assert layout is None
    else:
        assert layout is not None and layout.discs[0, 1, -1, 1, 0] == pytest.approx(0.09)


@pytest.mark.parametrize("case", ["image", "not wanted", "no prompt", "other weights", "none"])
def test_otherwise_nothing_is_planned(case: str) -> None:
    config = LinGenConfig.from_dict({**CONFIG.to_dict(), "layout": case != "other weights"})
    pipe = pipeline(config)
    if case == "none":
        pipe.planner = None
    first = torch.zeros(32, 32, 3, dtype=torch.uint8) if case == "image" else None
    params = SamplingParams(steps=1, seed=3, plan_layout=case != "not wanted")
    prompt = "" if case == "no prompt" else "red ball"
    pipe.sample(Conditioning(prompt, first_frame=first), params, frames=9, height=32, width=32)
    assert seen(pipe) == [None]


def test_a_given_layout_comes_before_the_planner_s() -> None:
    pipe = pipeline()
    own = Layout((LayoutObject("ball", path((0, 0.5, 0.5, 0.25))),))
    pipe.sample(Conditioning("red ball", layout=own), PARAMS, frames=9, height=32, width=32)
    (layout,) = seen(pipe)
    assert layout is not None
    expected = torch.tensor([1.0, 1.0, 0.5, 0.0, 1.0]).expand(3, 5)
    torch.testing.assert_close(layout.discs[0, 1, 0], expected)
    with pytest.raises(ValueError, match="take no layout"):
        plain = pipeline(LinGenConfig.from_dict({**CONFIG.to_dict(), "layout": False}))
        plain.sample(Conditioning("red ball", layout=own), PARAMS, frames=9, height=32, width=32)


def test_windows_know_where_they_are_in_the_layout() -> None:
    pipe = pipeline()
    history = torch.zeros(1, 16, 5, 4, 4)
    keys = ((0, 0.0, 0.5, 0.2), (1000, 10.0, 0.5, 0.2))
    own = Layout((LayoutObject("ball", path(*keys)),))
    pieces = pipe.extend(history, 5, Conditioning("red ball", layout=own), PARAMS, windows=(4, 1))
    assert sum(piece.shape[2] for piece in pieces) == 5
    first, second = seen(pipe)
    assert first is not None and second is not None
    for layout, numbers in ((first, range(4, 8)), (second, range(7, 10))):
        x = torch.tensor(latent_instants(numbers, 8)) / 100 * 2
        torch.testing.assert_close(layout.discs[0, :, 0, :, 0], x)


def test_a_stretch_made_anew_knows_where_it_is_in_the_layout() -> None:
    pipe = pipeline()
    keys = ((0, 0.0, 0.5, 0.2), (1000, 10.0, 0.5, 0.2))
    own = Layout((LayoutObject("ball", path(*keys)),))
    pipe.inpaint(
        torch.zeros(1, 16, 8, 4, 4), (4, 6), Conditioning("red ball", layout=own), PARAMS, past=2
    )
    (layout,) = seen(pipe)
    assert layout is not None
    x = torch.tensor(latent_instants(range(2, 8), 8)) / 100 * 2
    torch.testing.assert_close(layout.discs[0, :, 0, :, 0], x)


def test_objects_are_told_of_only_while_they_are_there() -> None:
    pipe = pipeline()
    ball = LayoutObject("ball", path((0, 0.5, 0.5, 0.2)), end=6.0)
    star = LayoutObject("ball", path((0, 0.5, 0.5, 0.2)), first=6.0)
    found = pipe.encode_layout(Layout((ball, star)), range(2), (4, 4))  # 0, then 1, 4.5 and 8
    assert found is not None
    assert found.discs[0, ..., 4].tolist() == [[[1, 1, 1], [0, 0, 0]], [[1, 1, 0], [0, 0, 1]]]


def test_a_plan_goes_on_with_what_was_before() -> None:
    pipe = pipeline()
    first = pipe.plan_layout("red ball", 3, 2)
    assert first is not None
    later = pipe.plan_layout("ball", 3, 5, 2, first)
    assert later is not None and isinstance(pipe.planner, Planner)
    assert pipe.planner.calls[-1] == ("ball", 3, [9, 12.5, 16, 17, 20.5, 24, 25, 28.5, 32])
    assert [(one.phrase, one.first, one.end) for one in later.objects] == [
        ("red ball", -math.inf, 9),
        ("ball", 9, math.inf),
    ]


def test_windows_of_a_new_video_are_planned_and_others_are_not() -> None:
    pipe = pipeline()
    empty = torch.zeros(1, 16, 0, 4, 4)
    list(pipe.extend(empty, 3, Conditioning("red ball"), PARAMS, windows=(4, 1)))
    assert isinstance(pipe.planner, Planner)
    assert pipe.planner.calls == [("red ball", 3, [0, 1, 4.5, 8, 9, 12.5, 16])]
    list(
        pipe.extend(
            empty.new_zeros(1, 16, 2, 4, 4), 2, Conditioning("red ball"), PARAMS, windows=(4, 1)
        )
    )
    assert len(pipe.planner.calls) == 1
    assert seen(pipe)[-1] is None
