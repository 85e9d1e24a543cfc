"""Color and sharpness of single frames. Nothing here needs torch."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def mean_gradient(levels: Array) -> float:
    """Mean absolute difference of neighboring pixels, down and across, of an image (h, w, 3), in
    levels per pixel. An image of one color has 0."""
    grey = levels.mean(-1)
    steps = [np.abs(np.diff(grey, axis=axis)) for axis in (0, 1)]
    return float(sum(one.mean() for one in steps if one.size))


def mean_lab(levels: Array) -> Array:
    """Mean color of an image (h, w, 3) in 8-bit sRGB, as CIE L*a*b*."""
    return lab(levels.reshape(-1, 3).mean(0))


def lab(rgb: Array) -> Array:
    """sRGB (3,), 0..255, as CIE L*a*b* under D65."""
    part = rgb / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = matrix @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])
