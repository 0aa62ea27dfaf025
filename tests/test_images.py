"""Images go to the model and to files, and come back as they were."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ddpm_jax.images import enlarge
from ddpm_jax.images import grid
from ddpm_jax.images import save_animation
from ddpm_jax.images import save_grid
from ddpm_jax.images import save_png
from ddpm_jax.images import to_model_range
from ddpm_jax.images import to_uint8

ALL = np.arange(256, dtype=np.uint8)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


def test_all_256_values_come_back_from_the_models_range() -> None:
    for scale in (to_model_range, jax.jit(to_model_range)):
        x = scale(jnp.asarray(ALL))
        assert x.dtype == jnp.float32
        # XLA may multiply by 1 / 127.5, which is one rounding more.
        assert (float(x[0]), float(x[-1])) == pytest.approx((-1, 1), abs=2e-7)
        np.testing.assert_array_equal(to_uint8(x), ALL)


def test_a_value_is_rounded_to_the_nearest_of_256_and_clipped_beyond() -> None:
    below = (ALL - 0.4) / 127.5 - 1
    above = (ALL + 0.4) / 127.5 - 1
    for x in (below, above):
        np.testing.assert_array_equal(to_uint8(jnp.asarray(x, jnp.float32)), ALL)
    far = jnp.array([-jnp.inf, -9.0, 9.0, jnp.inf])
    assert to_uint8(far).tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("count", "columns"), [(1, None), (5, None), (6, 4), (3, 7)])
def test_a_grid_holds_every_image_at_its_place_and_white_elsewhere(
    count: int, columns: int | None, channels: int
) -> None:
    images, gap = noise(count, 4, 6, channels), 2
    board = grid(images, columns, gap=gap)
    width = columns or int(np.ceil(count**0.5))
    height = int(np.ceil(count / width))
    assert board.shape == (height * 6 + gap, width * 8 + gap, channels)
    rest = board.copy()
    for i, image in enumerate(images):
        top, left = gap + i // width * (4 + gap), gap + i % width * (6 + gap)
        np.testing.assert_array_equal(board[top : top + 4, left : left + 6], image)
        rest[top : top + 4, left : left + 6] = 255
    assert (rest == 255).all()


def test_enlarging_repeats_whole_pixels_until_the_height_is_reached() -> None:
    images = noise(2, 9, 5, 3)
    large = enlarge(images, at_least=20)
    assert large.shape == (2, 27, 15, 3)
    for row, column in np.ndindex(27, 15):
        pixels = images[:, row // 3, column // 3]
        np.testing.assert_array_equal(large[:, row, column], pixels)
    np.testing.assert_array_equal(enlarge(images, at_least=9), images)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_a_png_holds_the_pixels_it_was_given(
    channels: int, mode: str, tmp_path: Path
) -> None:
    image = noise(5, 7, channels)
    path = save_png(tmp_path / "new" / "image.png", image)
    with Image.open(path) as read:
        assert (read.format, read.mode) == ("PNG", mode)
        np.testing.assert_array_equal(np.asarray(read).reshape(image.shape), image)


def test_a_grid_in_a_file_is_that_of_the_enlarged_images(tmp_path: Path) -> None:
    images = noise(5, 8, 8, 3)
    with Image.open(save_grid(tmp_path / "grid.png", images, columns=2)) as read:
        expected = grid(enlarge(images), 2, gap=4)
        np.testing.assert_array_equal(np.asarray(read), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_shows_its_frames_in_order_rests_and_repeats(
    channels: int, tmp_path: Path
) -> None:
    frames = [np.full((8, 9, channels), grey, np.uint8) for grey in (0, 85, 170, 255)]
    path = save_animation(tmp_path / "new" / "x.gif", frames, milliseconds=50)
    with Image.open(path) as read:
        assert (read.format, read.size, read.info["loop"]) == ("GIF", (9, 8), 0)
        assert getattr(read, "n_frames", 1) == len(frames)
        durations = []
        for number, frame in enumerate(frames):
            read.seek(number)
            durations.append(read.info["duration"])
            grey = np.asarray(read.convert("L"), dtype=np.int64)
            assert abs(grey - int(frame[0, 0, 0])).max() <= 1
    assert durations == [50, 50, 50, 2000]
