"""Figures show what the process does: the forward one is in closed form."""

from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from ddpm_jax.figures import forward_frames
from ddpm_jax.figures import save_chain
from ddpm_jax.figures import save_strip
from ddpm_jax.images import enlarge
from ddpm_jax.images import grid
from ddpm_jax.samplers.ddpm import Frames
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule

BETAS = linear_beta_schedule(1000)
ALPHA_BAR = np.cumprod(1 - BETAS)
SCHEDULE = make_schedule(BETAS)
# Far from black and white, so that little noise clips nothing.
IMAGES = np.random.default_rng(0).integers(90, 166, (4, 16, 16, 3), np.uint8)


def frames(*steps: int, images: np.ndarray = IMAGES) -> np.ndarray:
    return forward_frames(SCHEDULE, images, steps, jax.random.key(0))


def noise_of(frame: np.ndarray, t: int) -> np.ndarray:
    """Eq. 4 solved for eps; NaN where the pixel may have been clipped."""
    x_t, x_0 = frame / 127.5 - 1, IMAGES / 127.5 - 1
    eps = (x_t - np.sqrt(ALPHA_BAR[t]) * x_0) / np.sqrt(1 - ALPHA_BAR[t])
    return np.where((frame > 0) & (frame < 255), eps, np.nan)


def test_the_first_frame_is_the_image_with_noise_of_its_deviation() -> None:
    first = frames(0)[:, 0].astype(float)
    difference = (first - IMAGES) / 127.5
    # One step of noise has deviation 0.01; rounding adds that of one value in 255.
    expected = (BETAS[0] + (1 / 127.5) ** 2 / 12) ** 0.5
    assert difference.std() == pytest.approx(expected, rel=0.1)
    assert abs(difference.mean()) < 1e-3


def test_the_last_frame_is_unit_noise_of_which_a_third_is_clipped() -> None:
    last = frames(999)[:, 0].astype(float)
    count = last.size
    assert noise_of(last, 999)[0].size == count / 4
    # P(eps < -1) = P(eps > 1) = 0.1587.
    for clipped in (last == 0, last == 255):
        assert clipped.mean() == pytest.approx(0.1587, abs=4 * (0.1335 / count) ** 0.5)
    # The deviation of a unit normal cut to [-1, 1] is 0.5397.
    inside = last[(last > 0) & (last < 255)] / 127.5 - 1
    assert inside.std() == pytest.approx(0.5397, abs=0.02)


def test_an_image_keeps_its_noise_along_its_row() -> None:
    steps = (100, 250, 400, 700)
    row = frames(*steps)
    eps = [noise_of(row[:, i], t) for i, t in enumerate(steps)]
    for t, other in zip(steps[1:], eps[1:], strict=True):
        # Half a value of 255 of rounding in either frame.
        least = min(1 - ALPHA_BAR[100], 1 - ALPHA_BAR[t]) ** 0.5
        both = ~np.isnan(eps[0]) & ~np.isnan(other)
        assert both.mean() > 0.6
        assert abs(eps[0] - other)[both].max() < 2 * 0.51 / 127.5 / least


def test_images_have_noise_of_their_own_in_any_batch() -> None:
    eps = noise_of(frames(300)[:, 0], 300).reshape(4, -1)
    assert (abs(eps[0] - eps[1]) > 0.1).mean() > 0.5
    fewer = frames(0, 300, images=IMAGES[:2])
    np.testing.assert_array_equal(fewer, frames(0, 300)[:2])


def test_frames_are_uint8_in_the_order_asked_for() -> None:
    both = frames(999, 0)
    assert both.shape == (4, 2, 16, 16, 3) and both.dtype == np.uint8
    np.testing.assert_array_equal(both[:, ::-1], frames(0, 999))


def test_a_strip_has_a_row_for_each_image_and_a_column_for_each_frame(
    tmp_path: Path,
) -> None:
    rows = frames(0, 500, 999)
    with Image.open(save_strip(tmp_path / "strip.png", rows)) as read:
        picture = np.asarray(read)
    side = 64 + 4
    assert picture.shape == (4 * side + 4, 3 * side + 4, 3)
    for image, frame in np.ndindex(4, 3):
        top, left = 4 + image * side, 4 + frame * side
        tile = picture[top : top + 64 : 4, left : left + 64 : 4]
        np.testing.assert_array_equal(tile, rows[image, frame])


def test_a_chain_is_two_strips_and_an_animation_that_end_on_x_0(
    tmp_path: Path,
) -> None:
    x_t, x_0 = frames(999, 500), frames(900, 400)
    paths = save_chain(tmp_path, IMAGES, Frames(x_t, x_0))
    assert [path.name for path in paths] == [
        "chain_x_t.png",
        "chain_x_0.png",
        "chain.gif",
    ]
    sizes = []
    for path in paths:
        with Image.open(path) as read:
            sizes.append((*read.size, getattr(read, "n_frames", 1)))
    side = 64 + 4
    strip = 4 * side + 4
    assert sizes[0] == (3 * side + 4, strip, 1)
    assert sizes[1] == (2 * side + 4, strip, 1)
    assert sizes[2] == (2 * side + 4, 2 * side + 4, 3)
    with Image.open(paths[2]) as read:
        read.seek(2)
        last = np.asarray(read.convert("RGB"), dtype=np.int64)
    # A GIF has 256 colours, so a frame is close to its picture and not equal to it.
    assert abs(last - grid(enlarge(IMAGES), gap=4)).mean() < 10
