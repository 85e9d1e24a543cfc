"""Fits: sizes, what is cut, where the bars are, and the way back."""

import numpy as np
import pytest

from lingen_cli.media.images.resize import Fit, canvas_size, crop_size


def ramp(width: int, height: int) -> np.ndarray:
    """An image whose red is the column and whose green is the line."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)[None]
    image[..., 1] = np.arange(height)[:, None]
    return image


@pytest.mark.parametrize(
    ("name", "scaled"), [("stretch", (64, 64)), ("pad", (64, 32)), ("crop", (128, 64))]
)
def test_scaled(name: str, scaled: tuple[int, int]) -> None:
    fit = Fit(name=name, seen=(200, 100), size=(64, 64))  # type: ignore[arg-type]
    assert fit.scaled == scaled
    assert fit.into(ramp(*scaled)).shape == (64, 64, 3)


def test_pad_comes_back_without_bars() -> None:
    for seen in ((200, 100), (100, 200), (97, 31), (50, 50)):
        fit = Fit(name="pad", seen=seen, size=(64, 48))
        image = ramp(*fit.scaled) + 1
        padded = fit.into(image)
        assert np.array_equal(fit.back(padded[None])[0], image)
        assert padded[..., 0].astype(bool).sum() == image.shape[0] * image.shape[1]


def test_crop_keeps_the_middle() -> None:
    fit = Fit(name="crop", seen=(128, 64), size=(64, 64))
    cut = fit.into(ramp(128, 64))
    assert (cut[0, 0, 0], cut[0, -1, 0]) == (32, 95)
    assert np.array_equal(fit.back(cut[None])[0], cut)


def test_crop_size_is_even_and_inside() -> None:
    assert crop_size((1920, 1080), (128, 128)) == (1080, 1080)
    assert crop_size((97, 65), (97, 65)) == (96, 64)
    assert crop_size((320, 240), (160, 96)) == (320, 192)
    assert crop_size((3, 3), (16, 16)) == (2, 2)


@pytest.mark.parametrize(
    ("seen", "size"),
    [
        ((128, 128), (128, 128)),
        ((1920, 1080), (176, 96)),
        ((1080, 1920), (96, 176)),
        ((640, 480), (144, 112)),
        ((2000, 100), (256, 16)),
    ],
)
def test_canvas_has_the_proportions_and_about_the_area(
    seen: tuple[int, int], size: tuple[int, int]
) -> None:
    assert canvas_size(seen, (128, 128), 16) == size
