"""The color tags of a video, and what they mean where nothing is said."""

from dataclasses import dataclass

from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

_UNSPECIFIED = 2
_HD_HEIGHT = 720  # players take bt709 from here on, bt601 below


@dataclass(frozen=True)
class Colors:
    """The tags, as libav numbers them."""

    primaries: int
    trc: int
    space: int
    range: int

    @classmethod
    def of(cls, context: VideoCodecContext) -> "Colors":
        """Those of a stream."""
        return cls(
            context.color_primaries, context.color_trc, context.colorspace, context.color_range
        )

    def matrix(self, height: int) -> int:
        """Return how RGB and these pixels are converted into each other, in an image of this
        height."""
        return matrix_of(height) if self.space == _UNSPECIFIED else self.space


def matrix_of(height: int) -> int:
    """Return the matrix that players assume for an image of this height without tags."""
    return Colorspace.ITU709 if height >= _HD_HEIGHT else Colorspace.ITU601


BT709 = Colors(ColorPrimaries.BT709, ColorTrc.BT709, Colorspace.ITU709, ColorRange.MPEG)
