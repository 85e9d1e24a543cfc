"""Pixels: reproducible, sliceable, the same in any batch, smooth at edges, without end."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lingen_playground import Scene, SceneObject, as_frames, extent, render, sample_scene
from lingen_playground.scenes.palette import BACKGROUNDS, CAMERAS

WHITE = BACKGROUNDS["white"][1] / 127.5 - 1
SCENES = [sample_scene(seed) for seed in range(24)]


def obj(**changes: object) -> SceneObject:
    plain = SceneObject("red", "ball", "medium", "still", None, "", 0.5, 0.5, 0.0, 0.0)
    return replace(plain, **changes)  # type: ignore[arg-type]


def alone(background: str = "white", camera: str = "still", **changes: object) -> Scene:
    return Scene((obj(**changes),), background, camera, 5)


def redness(video: torch.Tensor) -> torch.Tensor:
    """How much of each frame (T,) the red object on white covers."""
    return (WHITE - video[0, 1]).mean((1, 2)) / 2


def test_form_and_range() -> None:
    video = render(SCENES[:3], 5, 64)
    assert video.shape == (3, 3, 5, 64, 64)
    assert video.dtype == torch.float32
    assert float(video.min()) >= -1 and float(video.max()) <= 1


@pytest.mark.parametrize("camera", CAMERAS)
def test_starting_later_is_slicing(camera: str) -> None:
    scenes = [sample_scene(seed, background="blue sky", camera=camera) for seed in range(3)]
    whole = render(scenes, 40, 64)
    assert torch.equal(render(scenes, 12, 64, start=20 / 16), whole[:, :, 20:32])


def test_the_batch_does_not_matter() -> None:
    together = render(SCENES, 4, 64, start=1.0)
    for index, scene in enumerate(SCENES):
        assert torch.equal(render([scene], 4, 64, start=1.0)[0], together[index])


def test_an_image_is_one_frame() -> None:
    assert torch.equal(render(SCENES[:2], 1, 96), render(SCENES[:2], 3, 96)[:, :, :1])


def test_autocast_changes_nothing() -> None:
    scenes = [sample_scene(seed, background="green grass") for seed in range(2)]
    plain = render(scenes, 2, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(render(scenes, 2, 64), plain)


@pytest.mark.parametrize("shape", ["ball", "square", "triangle", "star", "heart", "ring"])
def test_edges_are_smooth_and_the_area_holds(shape: str) -> None:
    """Coverage follows sub-pixel shifts: without anti-aliasing it would jump by whole pixels."""
    areas = torch.stack(
        [
            redness(render([alone(shape=shape, x=0.5 + i / 640)], 1, 64)[0][None])[0]
            for i in range(8)
        ]
    )
    assert float(areas.max() / areas.min()) < 1.01
    fine = redness(render([alone(shape=shape)], 1, 256))[0]
    assert float(areas.mean()) == pytest.approx(float(fine), rel=0.03)


def test_sizes_grow_with_the_frame() -> None:
    small = redness(render([alone(size="small")], 1, 128))[0]
    large = redness(render([alone(size="large")], 1, 128))[0]
    assert float(large / small) == pytest.approx((0.21 / 0.10) ** 2, rel=0.1)


@pytest.mark.parametrize(
    ("direction", "axis", "sign"), [("left", 2, -1), ("right", 2, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_it_leaves_on_one_side_and_enters_on_the_other(
    direction: str, axis: int, sign: int
) -> None:
    video = render([alone(motion="moves", direction=direction)], 16 * 6, 64)
    covered = redness(video)
    assert float(covered.min()) < 0.2 * float(covered.max())
    profile = (WHITE - video[0, 1]).mean(3 - axis)  # (T, 64) along the axis of the motion
    centre = (profile * torch.arange(64)).sum(1) / profile.sum(1).clamp(min=1e-6)
    whole = covered > 0.999 * covered.max()
    steps = (centre[1:] - centre[:-1])[whole[1:] & whole[:-1]]
    assert bool((steps * sign > 0).all())
    gone = int(covered.argmin())
    assert sign * float(centre[gone - 6] - centre[gone + 6]) > 20


def test_motion_goes_on_after_a_minute() -> None:
    scene = alone(motion="circles", reach=0.2)
    period = 3.6
    early = render([scene], 4, 64)
    late = render([scene], 4, 64, start=100 * period)
    assert torch.allclose(early, late, atol=1e-4)


def test_a_pan_moves_the_background_against_the_camera() -> None:
    scene = alone("starry night", "pans right", size="small", x=0.1, y=0.1)
    video = render([scene], 17, 64)
    assert torch.equal(video[0, :, 0, 20:, 16:], video[0, :, 16, 20:, :-16])


def test_a_zoom_enlarges_and_holds() -> None:
    covered = redness(render([alone(camera="zooms in")], 80, 64))
    assert float(covered[79] / covered[0]) == pytest.approx(1.25**2, rel=0.15)
    assert float(covered[79]) == pytest.approx(float(covered[50]), rel=1e-4)


def test_frames_for_writing() -> None:
    frames = as_frames(torch.tensor([-1.0, 0.0, 1.0])[:, None, None, None].expand(3, 2, 4, 5))
    assert frames.shape == (2, 4, 5, 3)
    assert frames[0, 0, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(("frames", "size", "fps"), [(0, 64, 16), (4, 63, 16), (4, 64, 0)])
def test_what_cannot_be_rendered_is_named(frames: int, size: int, fps: int) -> None:
    with pytest.raises(ValueError, match="cannot render"):
        render(SCENES[:1], frames, size, fps=fps)


@pytest.mark.parametrize("motion", ("still", "bounces", "circles", "grows", "spins"))
def test_extent_is_where_the_objects_are(motion: str) -> None:
    first = obj(motion=motion, x=0.35, y=0.6, reach=0.1, phase=0.3, speed="slowly")
    scene = Scene((first, obj(x=0.7, y=0.3)), "white", "still", 5)
    for time in (0.0, 0.8):
        image = render([scene], 1, 256, start=time)[0, 1, 0]
        drawn = image < 0
        lines, columns = drawn.any(1).nonzero()[:, 0], drawn.any(0).nonzero()[:, 0]
        seen = (columns[0], lines[0], columns[-1] + 1, lines[-1] + 1)
        (box,) = extent(scene, torch.tensor([time], dtype=torch.float64)).tolist()
        for edge, told in zip(seen, box, strict=True):
            assert abs(float(edge) - 256 * told) <= 1.5
