"""Turns images of one size into images of another: stretched, with bars, or cut."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lingen_cli.media.images.orientation import Image

FitName = Literal["stretch", "pad", "crop"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """From images of the size `seen` to images of the size `size`, both (width, height).

    `stretch` changes the proportions, `pad` adds black bars, `crop` cuts what is too wide or too
    high. An image is first scaled to `scaled`, then given to `into`.
    """

    name: FitName
    seen: tuple[int, int]
    size: tuple[int, int]

    @property
    def scaled(self) -> tuple[int, int]:
        """The size of the whole image before bars are added or edges are cut."""
        if self.name == "stretch":
            return self.size
        ratios = [after / before for before, after in zip(self.seen, self.size, strict=True)]
        scale = min(ratios) if self.name == "pad" else max(ratios)
        width, height = (max(1, round(side * scale)) for side in self.seen)
        return width, height

    def into(self, image: Image) -> Image:
        """An image (h, w, 3) of the size `scaled` as one of the size `size`."""
        (width, height), (high, wide) = self.size, image.shape[:2]
        if self.name == "crop":
            top, left = max(0, (high - height) // 2), max(0, (wide - width) // 2)
            return image[top : top + height, left : left + width]
        if (wide, high) == self.size:
            return image
        whole = np.zeros((height, width, 3), dtype=np.uint8)
        top, left = self._corner
        whole[top : top + high, left : left + wide] = image
        return whole

    def back(self, frames: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Images (T, H, W, 3) of the size `size` without bars."""
        if self.name != "pad":
            return frames
        (wide, high), (top, left) = self.scaled, self._corner
        return frames[:, top : top + high, left : left + wide]

    @property
    def _corner(self) -> tuple[int, int]:
        """Where, from the top and from the left, the image begins between the bars."""
        (width, height), (wide, high) = self.size, self.scaled
        return (height - high) // 2, (width - wide) // 2


def crop_size(seen: tuple[int, int], shape: tuple[int, int]) -> tuple[int, int]:
    """The largest even size inside `seen` with the proportions of `shape`."""
    scale = min(before / side for before, side in zip(seen, shape, strict=True))
    width, height = (max(2, int(side * scale) // 2 * 2) for side in shape)
    return width, height


def canvas_size(seen: tuple[int, int], shape: tuple[int, int], step: int) -> tuple[int, int]:
    """Choose, of all sizes in steps of `step`, the one nearest to the proportions of `seen` and
    to as many pixels as `shape` has."""
    area = shape[0] * shape[1]
    most = max(2, 2 * max(shape) // step)
    sides = [step * count for count in range(1, most + 1)]

    def distance(size: tuple[int, int]) -> float:
        shift = np.log(size[0] / size[1] * seen[1] / seen[0])
        growth = np.log(size[0] * size[1] / area)
        return float(abs(shift) + abs(growth) / 2)

    return min(((width, height) for width in sides for height in sides), key=distance)
