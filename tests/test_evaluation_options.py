"""Options of the likelihood reach the functions that they are options of."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ddpm_jax import keys as per_image
from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.config import Data
from ddpm_jax.dequantisation import bits_of
from ddpm_jax.dequantisation import dequantise
from ddpm_jax.evaluation import nll
from ddpm_jax.evaluation import nll_ode
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.images import to_model_range
from ddpm_jax.likelihood import bits_per_dim
from ddpm_jax.ode_likelihood import ode_log_density

KEY, INDEX = jax.random.key(0), jnp.array([4, 9])
IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 4, 4, 1), np.uint8))
ROWS = {"image": IMAGES, "index": INDEX}


def mixing(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    """Noise whose divergence is 0, while a probe of it sees some."""
    weights = jnp.linspace(0.1, 1, 16).reshape(1, 4, 4, 1)
    return weights * jnp.roll(x_t, 1, axis=2)


@pytest.fixture(scope="module")
def parts() -> Parts:
    data = Data(source="digits", image_size=(4, 4), channels=1)
    real = build(dataclasses.replace(tiny.CONFIG, data=data))
    return real._replace(sampler={**real.sampler, "eps_fn": mixing})


def test_the_row_of_an_image_is_the_mean_over_draws(parts: Parts) -> None:
    got = nll.image_terms(({}, KEY), ROWS, parts=parts, draws=3, cdf="tanh")
    keys, x_0 = per_image.fold_in_each(KEY, INDEX), to_model_range(IMAGES)
    options = {"schedule": parts.schedule, "draws": 3, "cdf": "tanh"}
    exact = bits_per_dim({}, keys, x_0, **options, **parts.sampler)
    terms = np.asarray(exact.terms, np.float64)
    np.testing.assert_allclose(got["prior"], exact.prior, rtol=1e-6)
    np.testing.assert_allclose(got["terms"], terms.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(got["mse"], exact.mse.mean(axis=1), rtol=1e-5)
    # The error by noise alone of a mean over draws, squared.
    sums = terms.sum(axis=2)
    np.testing.assert_allclose(got["noise"], sums.var(axis=1, ddof=1) / 3, rtol=1e-3)


@pytest.mark.slow
def test_trace_and_probes_are_those_of_the_solver(parts: Parts) -> None:
    bits = []
    for trace, probes in (("hutchinson", 1), ("exact", 1), ("hutchinson", 3)):
        settings = Settings(trace=trace, probes=probes, tolerance=1e-3)
        row = nll_ode.image_bits(({}, KEY), ROWS, parts=parts, settings=settings)
        bits.append(row["bits"])
    keys = [per_image.fold_in_each(KEY, INDEX[:1]) for _ in range(2)]
    exact = ode_log_density(
        {},
        keys[0],
        dequantise(keys[1], to_model_range(IMAGES[:1])),
        schedule=parts.schedule,
        eps_fn=mixing,
        probes=3,
        tolerance=1e-3,
    )
    np.testing.assert_allclose(bits[2][:1], bits_of(exact.log_density, 16), rtol=1e-5)
    for one, two in itertools.combinations(bits, 2):
        assert np.abs(one - two).max() > 1e-2
