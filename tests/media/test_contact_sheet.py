import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from lingen_cli.media.images.contact_sheet import contact_sheet, grid_columns, sheet_times
from lingen_cli.terminal.terminal_image import TerminalImage


def frames(count: int, height: int = 40, width: int = 60) -> list[np.ndarray]:
    return [np.full((height, width, 3), 100 + index, np.uint8) for index in range(count)]


def test_frames_stand_in_reading_order() -> None:
    sheet = contact_sheet(frames(6), columns=3)
    assert sheet.shape == (2 * 44 + 4, 3 * 64 + 4, 3)
    found = [int(sheet[20 + 44 * (i // 3), 30 + 64 * (i % 3), 0]) for i in range(6)]
    assert found == [100, 101, 102, 103, 104, 105]
    assert all((sheet == 100 + i).all(-1).sum() == 40 * 60 for i in range(6))


def test_each_frame_has_its_time() -> None:
    plain, labelled = contact_sheet(frames(2)), contact_sheet(frames(2), [1.0, 61.5])
    assert labelled.shape[0] > plain.shape[0]
    below = labelled[44:, :, 0]
    assert set(np.unique(below)) == {24, 230}
    left, right = below[:, :64], below[:, 64:]
    assert (left == 230).sum() > 10
    assert not np.array_equal(left, right[:, : left.shape[1]])


def test_frames_of_different_sizes_are_centred() -> None:
    sheet = contact_sheet([*frames(1), np.full((20, 30, 3), 200, np.uint8)], columns=2)
    ys, xs = np.nonzero((sheet == 200).all(-1))
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (14, 33, 83, 112)


def test_times_longer_than_a_tiny_frame_are_cut() -> None:
    assert contact_sheet(frames(1, 8, 8), [3599.0]).shape[1] == 16


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])
    with pytest.raises(ValueError, match="1 times for 2 frames"):
        contact_sheet(frames(2), [0.0])


def test_grids() -> None:
    assert grid_columns(8, 1.0) == 4
    assert grid_columns(1, 1.0) == 1
    assert grid_columns(6, 4 / 3) == 3
    assert sheet_times(4.0, 4) == [0.5, 1.5, 2.5, 3.5]


def draw(image: np.ndarray, **size: Any) -> list[str]:
    screen = Console(
        file=io.StringIO(), force_terminal=True, color_system="truecolor", legacy_windows=False,
        **size,
    )  # fmt: skip
    screen.print(TerminalImage(image))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


def test_a_terminal_cell_shows_two_pixels() -> None:
    image = np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8)
    (line,) = draw(image, width=80, height=24)
    assert line == "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (20, 50), (200, 12)])
def test_an_image_fits_the_terminal(width: int, height: int) -> None:
    lines = draw(np.zeros((300, 400, 3), np.uint8), width=width, height=height)
    assert len(lines) <= height - 4
    columns = lines[0].count("▀")
    assert columns <= width
    assert columns == width or len(lines) >= height - 5
    assert columns / (2 * len(lines)) == pytest.approx(4 / 3, rel=0.15)
