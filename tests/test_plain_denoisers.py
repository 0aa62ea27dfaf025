"""Plain denoisers take noise off, and are judged at their best."""

import numpy as np
import pytest

from ddpm_jax.paper_figures.plain_denoisers import METHODS
from ddpm_jax.paper_figures.plain_denoisers import best_of
from ddpm_jax.paper_figures.plain_denoisers import psnr

NOISE = 0.2
ROWS, COLUMNS = np.mgrid[-1:1:16j, -1:1:16j]


def pictures(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Two smooth pictures with an edge, and with noise."""
    clean = np.stack([0.5 * ROWS * COLUMNS, np.sign(ROWS) * 0.5])[..., None]
    clean = clean.repeat(channels, axis=-1)
    return clean, clean + NOISE * np.random.default_rng(0).standard_normal(clean.shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_each_comes_nearer_to_the_truth_and_no_parameter_would_be_better(
    name: str, channels: int
) -> None:
    truth, noisy = pictures(channels)
    tried = best_of(name, noisy, truth, NOISE)
    assert tried.images.shape == truth.shape
    assert tried.psnr > psnr(np.clip(noisy, -1, 1), truth).mean() + 2
    assert tried.psnr == pytest.approx(psnr(tried.images, truth).mean())
    method, parameters = METHODS[name]
    for parameter in parameters:
        images = np.stack([method(image, NOISE, parameter) for image in noisy])
        found = psnr(np.clip(images, -1, 1), truth).mean()
        assert found == pytest.approx(tried.psnr) or found < tried.psnr


def test_the_psnr_of_noise_is_its_deviation_in_decibels() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 200, 200, 1))
    found = psnr(noise * np.array([0.1, 0.5]).reshape(2, 1, 1, 1), np.zeros_like(noise))
    np.testing.assert_allclose(found, 20 * np.log10([20, 4]), atol=0.1)
    assert psnr(np.zeros((1, 3)), np.zeros((1, 3))).tolist() == [np.inf]
