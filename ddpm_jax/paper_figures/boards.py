"""Grids of images with words above and beside them: what goes on a slide."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddpm_jax.images import enlarge
from ddpm_jax.images import grid
from ddpm_jax.images import save_png

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont

GAP, TILE = 4, 128
"""Pixels between images, and of the height of one: at least."""
LETTERS = 3 / 16
"""The size of letters, as a share of an image's, so that both are seen from afar."""


def save_board(
    path: Path,
    rows: np.ndarray,
    *,
    above: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> Path:
    """Writes uint8 images [R, F, H, W, C] as R rows and F columns, small ones enlarged.

    above has the words of each column and beside those of each row, if any; a line
    feed divides lines.
    """
    return save_png(path, board(rows, above=above, beside=beside))


def board(
    rows: np.ndarray, *, above: Sequence[str] = (), beside: Sequence[str] = ()
) -> np.ndarray:
    """The picture uint8 [H', W', 3] that `save_board` writes.

    Example:
      >>> board(np.zeros((2, 3, 8, 8, 1), np.uint8)).shape
      (268, 400, 3)
      >>> board(np.zeros((1, 2, 8, 8, 1), np.uint8), above=["a", "b"]).shape[0] > 136
      True
    """
    from PIL import Image
    from PIL import ImageDraw
    from PIL import ImageFont

    if above and len(above) != rows.shape[1] or beside and len(beside) != rows.shape[0]:
        raise ValueError(
            f"there are {len(above)} words above and {len(beside)} beside a board of "
            f"{rows.shape[1]} columns and {rows.shape[0]} rows"
        )
    flat = enlarge(rows.reshape(-1, *rows.shape[2:]), TILE)
    height, width = flat.shape[1:3]
    picture = grid(flat, rows.shape[1], gap=GAP)
    size = round(LETTERS * min(height, width))
    font = ImageFont.load_default(size)
    top, left = (_room(words, font, size) for words in (above, beside))
    canvas = Image.new(
        "RGB", (left[0] + picture.shape[1], top[1] + picture.shape[0]), "white"
    )
    channels = 3 if picture.shape[-1] == 1 else 1
    colours = picture[..., :3].repeat(channels, axis=-1)
    canvas.paste(Image.fromarray(colours), (left[0], top[1]))
    pen = ImageDraw.Draw(canvas)
    # Anchored at the middle of an image's side; a column too wide would run over.
    for column, words in enumerate(above):
        middle = left[0] + GAP + column * (width + GAP) + width / 2
        place = (middle, top[1] / 2 + 1)
        pen.text(place, words, "black", font, anchor="mm", align="center")
    for row, words in enumerate(beside):
        middle = top[1] + GAP + row * (height + GAP) + height / 2
        place = (left[0] - GAP, middle)
        pen.text(place, words, "black", font, anchor="rm", align="right")
    return np.asarray(canvas)


def _room(
    words: Sequence[str], font: "FreeTypeFont | ImageFont", size: int
) -> tuple[int, int]:
    """Width and height in pixels that the largest of the words needs; 0 if none."""
    from PIL import Image
    from PIL import ImageDraw

    if not any(words):
        return 0, 0
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    boxes = [pen.textbbox((0, 0), text, font) for text in words]
    width = max(right - left for left, _, right, _ in boxes)
    lines = max(text.count("\n") + 1 for text in words)
    return int(np.ceil(width)) + 3 * GAP, lines * (size + GAP) + GAP
