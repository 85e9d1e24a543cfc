"""The animation and the contact sheet at the top of the README, from the shipped weights.

    python scripts/hero.py docs/images

Writes hero.webp (all prompts at once) and contact-sheet.png (the README's first command over time).
Seeds are fixed; nothing is chosen by hand beyond the list below.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import lingen

PROMPTS = (
    "a red ball bounces on green grass",
    "a large purple star spins in the starry night",
    "an orange triangle moves in a circle on yellow sand",
    "a small blue heart zigzags right on a white background",
    "a yellow ring grows and shrinks on a black background",
    "two red balls bounce on a grey background",
    "a green square moves left and a pink heart spins against a blue sky",
    "a white star moves up slowly in the starry night",
)
MINUTE = "a red ball bounces on green grass"
COLUMNS, LABEL = 4, 30
SEED = 1


def labelled(frame: np.ndarray, prompt: str) -> Image.Image:
    """A frame above its prompt, in two lines."""
    high, wide = frame.shape[:2]
    tile = Image.new("RGB", (wide + 4, high + LABEL), "white")
    tile.paste(Image.fromarray(frame), (2, 2))
    words, lines = prompt.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 27:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    text = "\n".join(lines[:3])
    ImageDraw.Draw(tile).multiline_text(
        (3, high + 3), text, fill="black", font=ImageFont.load_default(8), spacing=0
    )
    return tile


def main(folder: Path) -> None:
    pipe = lingen.load("lingen-mini")
    videos = [pipe.generate(prompt, seconds=4, seed=SEED).frames.numpy() for prompt in PROMPTS]
    images = []
    for frame in range(0, len(videos[0]), 2):
        tiles = [labelled(video[frame], text) for video, text in zip(videos, PROMPTS, strict=True)]
        wide, high = tiles[0].size
        rows = -(-len(tiles) // COLUMNS)
        page = Image.new("RGB", (COLUMNS * wide, rows * high), "white")
        for number, tile in enumerate(tiles):
            page.paste(tile, (number % COLUMNS * wide, number // COLUMNS * high))
        images.append(page)
    first, *others = images
    first.save(
        folder / "hero.webp",
        save_all=True,
        append_images=others,
        duration=125,
        loop=0,
        quality=80,
        method=6,
    )
    minute = pipe.generate(MINUTE, minutes=1, seed=SEED).frames.numpy()
    picked = [minute[round(at)] for at in np.linspace(0, len(minute) - 1, 24)]
    strips = [np.concatenate(picked[at : at + 8], 1) for at in range(0, 24, 8)]
    Image.fromarray(np.concatenate(strips)).save(folder / "contact-sheet.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
