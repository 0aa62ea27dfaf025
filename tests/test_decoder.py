"""The probability of a pixel, where bins are narrow, and as the paper's code has it."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax.decoder import DECODERS
from ddpm_jax.decoder import discretised_log_likelihood

PIXELS = jnp.arange(256) / 127.5 - 1
# Compiled as a whole, which is faster here than operation by operation.
log_likelihood = jax.jit(discretised_log_likelihood, static_argnames="cdf")


def slow_tanh(x: float, mean: float, std: float) -> float:
    """The paper code's approximation of Eq. 13, in float64."""

    def cdf(z: float) -> float:
        return 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))

    above, below = cdf((x - mean + 1 / 255) / std), cdf((x - mean - 1 / 255) / std)
    mass = above if x < -0.999 else 1 - below if x > 0.999 else above - below
    return float(np.log(max(mass, 1e-12)))


@pytest.mark.parametrize("log_variance", [0.0, 2.0, 10.0, 20.0, 30.0])
@pytest.mark.parametrize("mean", [-1.3, 0.0, 0.7])
def test_bins_that_are_narrow_beside_the_deviation_keep_their_digits(
    mean: float, log_variance: float
) -> None:
    got = log_likelihood(PIXELS, np.float32(mean), np.float32(log_variance))
    std, mean = np.exp(log_variance / 2), float(np.float32(mean))
    # scipy's CDFs agree in all digits there; the density, which is flat, does not.
    exact = [oracles.pixel_log_probability(float(v), mean, std) for v in PIXELS]
    if log_variance > 10:
        z = (np.asarray(PIXELS[1:-1], np.float64) - mean) / std
        exact[1:-1] = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) + np.log(2 / 255 / std)
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=5e-6)


def test_both_sides_of_the_border_between_narrow_and_wide_bins_agree() -> None:
    log_variance = np.float32(2 * np.log(2 / 255 / np.array([0.0201, 0.0199])))
    mean = np.float32([-1.0, 0.3])
    got = log_likelihood(
        PIXELS[:, None, None], mean[None, :, None], log_variance[None, None]
    )
    std = np.exp(np.asarray(log_variance, np.float64) / 2)
    exact = [
        [
            [oracles.pixel_log_probability(float(v), float(m), s) for s in std]
            for m in mean
        ]
        for v in PIXELS
    ]
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=5e-5)


@pytest.mark.parametrize("log_variance", [-9.8, -3.0, 0.0, 5.0, 20.0])
def test_the_256_probabilities_sum_to_one(log_variance: float) -> None:
    for mean in (-0.9, 0.3):
        log_p = log_likelihood(PIXELS, np.float32(mean), np.float32(log_variance))
        assert np.exp(log_p).sum() == pytest.approx(1, abs=2e-5)


@pytest.mark.parametrize("std", [0.0074, 0.1, 1.0])
@pytest.mark.parametrize("mean", [-1.1, 0.2])
def test_tanh_is_the_formula_of_the_papers_code(mean: float, std: float) -> None:
    log_variance = np.float32(2 * np.log(std))
    got = log_likelihood(PIXELS, np.float32(mean), log_variance, cdf="tanh")
    exact = np.array([slow_tanh(float(v), mean, std) for v in PIXELS])
    # A difference of CDFs near 1, in float32: that code computes it so as well.
    np.testing.assert_allclose(np.exp(got), np.exp(exact), atol=2e-7)
    assert float(got.min()) >= np.log(0.99e-12)


def test_tanh_is_wrong_in_the_tails_and_exact_is_not() -> None:
    mean, log_variance = np.float32(-0.05), np.float32(-9.8)
    exact, tanh = (
        float(log_likelihood(PIXELS, mean, log_variance, cdf=name)[128])
        for name in DECODERS
    )
    truth = oracles.pixel_log_probability(float(PIXELS[128]), -0.05, np.exp(-4.9))
    assert exact == pytest.approx(truth, rel=1e-5)
    assert abs(tanh - truth) > 1


def test_an_unknown_cdf_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="cdf is 'erf'; it must be one of exact, tanh"):
        discretised_log_likelihood(PIXELS, jnp.float32(0), jnp.float32(0), "erf")
