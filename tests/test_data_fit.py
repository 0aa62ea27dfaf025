"""Sizes: a crop keeps the centre, a margin the whole image."""

import numpy as np
import pytest
from PIL import Image

from ddpm_jax.data.fit import FITS


def fitted(pixels: np.ndarray, fit: str, height: int, width: int) -> np.ndarray:
    return np.asarray(FITS[fit](Image.fromarray(pixels), height, width))


def noise(height: int, width: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(0))
    return generator.integers(0, 256, (height, width), dtype=np.uint8)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_every_fit_gives_the_size_asked_for_and_keeps_the_mode(
    fit: str, mode: str
) -> None:
    for size in [(3, 40), (40, 3), (5, 5), (1, 1), (1, 1000)]:
        image = FITS[fit](Image.new(mode, size), 6, 9)
        assert (image.height, image.width, image.mode) == (6, 9, mode)


@pytest.mark.parametrize("fit", FITS)
def test_image_of_the_target_size_is_untouched(fit: str) -> None:
    pixels = noise(6, 9)
    assert np.array_equal(fitted(pixels, fit, 6, 9), pixels)


def test_crop_of_the_target_height_is_the_untouched_centre() -> None:
    pixels = noise(8, 14)
    assert np.array_equal(fitted(pixels, "crop", 8, 8), pixels[:, 3:11])
    assert np.array_equal(fitted(pixels.T.copy(), "crop", 8, 8), pixels.T[3:11])


@pytest.mark.parametrize(("fit", "margin"), [("pad", 0), ("pad_white", 255)])
def test_pad_puts_a_small_image_untouched_in_a_margin(fit: str, margin: int) -> None:
    pixels = noise(28, 28)
    want = np.pad(pixels, 2, constant_values=margin)
    assert np.array_equal(fitted(pixels, fit, 32, 32), want)


def test_pad_shrinks_a_large_image_with_its_aspect() -> None:
    got = fitted(np.full((20, 40), 200, np.uint8), "pad", 8, 8)
    want = np.zeros((8, 8), np.uint8)
    want[2:6] = 200
    assert np.array_equal(got, want)


def test_stretch_keeps_both_halves_where_crop_loses_the_sides() -> None:
    pixels = np.zeros((8, 32), np.uint8)
    pixels[:, 24:] = 255
    assert fitted(pixels, "crop", 8, 8).max() == 0
    assert fitted(pixels, "stretch", 8, 8)[:, -1].min() == 255


def test_shrinking_does_not_alias() -> None:
    checkerboard = np.indices((64, 64)).sum(0) % 2 * 255
    shrunk = fitted(checkerboard.astype(np.uint8), "stretch", 8, 8)
    # Every second pixel alone would be 0 or 255; the mean of the board is 127.5.
    assert np.abs(shrunk[1:-1, 1:-1].astype(int) - 127).max() <= 2
