"""How an image of one size becomes an image of another: crop, stretch or pad.

The resampling filter is Lanczos as Pillow applies it, which widens with the scale and
so does not alias when it shrinks. An image that has the target's size already, or that
only needs a crop or a margin, keeps its pixels untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image


def crop(image: Image.Image, height: int, width: int) -> Image.Image:
    """The largest centred part with the target's aspect, resized to the target."""
    if image.width * height > image.height * width:
        part_width, part_height = round(image.height * width / height), image.height
    else:
        part_width, part_height = image.width, round(image.width * height / width)
    # A strip 1 pixel high and 1,000 wide must still keep a pixel.
    part_width, part_height = max(part_width, 1), max(part_height, 1)
    left = (image.width - part_width) // 2
    top = (image.height - part_height) // 2
    part = image.crop((left, top, left + part_width, top + part_height))
    return stretch(part, height, width)


def stretch(image: Image.Image, height: int, width: int) -> Image.Image:
    """The whole image resized to the target, whatever its aspect."""
    from PIL import Image

    return image.resize((width, height), Image.Resampling.LANCZOS)


def pad(image: Image.Image, height: int, width: int) -> Image.Image:
    """The whole image, shrunk if it is too large, in a black margin."""
    return _on_canvas(image, height, width, "black")


def pad_white(image: Image.Image, height: int, width: int) -> Image.Image:
    """The whole image, shrunk if it is too large, in a white margin."""
    return _on_canvas(image, height, width, "white")


def _on_canvas(image: Image.Image, height: int, width: int, colour: str) -> Image.Image:
    """Centres an image, never enlarged, on a canvas of one colour."""
    from PIL import Image

    scale = min(height / image.height, width / image.width, 1.0)
    new_height = max(round(image.height * scale), 1)
    new_width = max(round(image.width * scale), 1)
    canvas = Image.new(image.mode, (width, height), colour)
    corner = ((width - new_width) // 2, (height - new_height) // 2)
    canvas.paste(stretch(image, new_height, new_width), corner)
    return canvas


FITS: dict[str, Callable[[Image.Image, int, int], Image.Image]] = {
    "crop": crop,
    "stretch": stretch,
    "pad": pad,
    "pad_white": pad_white,
}
