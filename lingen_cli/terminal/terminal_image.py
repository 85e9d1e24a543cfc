"""An image drawn with characters: every cell shows two pixels, one above the other."""

from rich.color import Color
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style

from lingen_cli.media.images.image_files import scale_image
from lingen_cli.media.images.orientation import Image

_UPPER_HALF = "▀"
_ROWS_LEFT_FREE = 4  # for the prompt and the lines above
_MIN_ROWS = 4


class TerminalImage:
    """Rich renderable of uint8 (H, W, 3), scaled down to the width and height of the console, never
    up.

    Rich turns the colors into what the terminal has. `rows` limits the height in lines.
    """

    def __init__(self, image: Image, *, rows: int | None = None) -> None:
        self.image = image
        self.rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = self.rows or max(_MIN_ROWS, console.height - _ROWS_LEFT_FREE)
        height, width = self.image.shape[:2]
        scale = min(options.max_width / width, 2 * lines / height, 1.0)
        columns, pixel_rows = max(1, round(width * scale)), 2 * max(1, round(height * scale / 2))
        pixels = scale_image(self.image, columns, pixel_rows)
        for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
            for above, below in zip(upper, lower, strict=True):
                style = Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below))
                yield Segment(_UPPER_HALF, style)
            yield Segment.line()
