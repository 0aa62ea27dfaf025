"""The likelihood by the flow, where the density of the data is known in closed form."""

import sys
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from correlated import DATA

from ddpm_jax import keys as per_image
from ddpm_jax.dequantisation import bits_of
from ddpm_jax.dequantisation import dequantise
from ddpm_jax.ode_likelihood import ode_log_density
from ddpm_jax.ode_likelihood import probe_vectors
from ddpm_jax.schedules import Schedule
from ddpm_jax.schedules import cosine_beta_schedule
from ddpm_jax.schedules import jsd_beta_schedule
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule

KEY = jax.random.key(0)
LINEAR = make_schedule(linear_beta_schedule(1000))
COSINE = make_schedule(cosine_beta_schedule(1000))


# In float64, and outside of the function that is compiled once for all of them.
AXES = 4
solve = jax.jit(
    ode_log_density,
    static_argnames=("eps_fn", "x0_fn", "trace", "t_0", "tolerance", "max_steps"),
)


class Known(NamedTuple):
    """N(mean, covariance) as params of a model, by the axes of the covariance."""

    mean: np.ndarray
    values: np.ndarray
    axes: np.ndarray
    log_alpha_bar: np.ndarray  # at t = -1..T-1


def known(mean: np.ndarray, covariance: np.ndarray, schedule: Schedule) -> Known:
    whole = np.arange(-1.0, schedule.num_timesteps)
    table = oracles.log_alpha_bar(schedule, whole)
    return Known(mean, *np.linalg.eigh(covariance), table)


def normal_eps(data: Known, x_t: jax.Array, t: jax.Array) -> jax.Array:
    """The best eps_fn at any t: sigma C_t^-1 (x_t - alpha mean)."""
    whole = jnp.arange(-1.0, data.log_alpha_bar.size - 1)
    log_ab = jnp.interp(t, whole, data.log_alpha_bar)[:, None]
    alpha, variance = jnp.exp(0.5 * log_ab), -jnp.expm1(log_ab)
    gap = (x_t - alpha * data.mean[None]) @ data.axes
    gap = gap / (alpha**2 * data.values[None] + variance)
    return jnp.sqrt(variance) * (gap @ data.axes.T)


def normal_x0(data: Known, x_t: jax.Array, t: jax.Array) -> jax.Array:
    """The same model of x_0, with channels of a variance, which the flow ignores."""
    whole = jnp.arange(-1.0, data.log_alpha_bar.size - 1)
    log_ab = jnp.interp(t, whole, data.log_alpha_bar)[:, None]
    noise = jnp.sqrt(-jnp.expm1(log_ab)) * normal_eps(data, x_t, t)
    x_0 = (x_t - noise) / jnp.exp(0.5 * log_ab)
    return jnp.concatenate([x_0, jnp.zeros_like(x_t)], axis=-1)


def stretches(data: Known, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Alpha and deviation at t and at T - 1, [2] and [2, D], along the axes."""
    whole = np.arange(-1.0, data.log_alpha_bar.size - 1)
    log_ab = np.interp([t, whole[-1]], whole, data.log_alpha_bar)
    alpha = np.exp(0.5 * log_ab)
    deviation = np.sqrt(alpha[:, None] ** 2 * data.values - np.expm1(log_ab)[:, None])
    return alpha, deviation, np.log(deviation[1] / deviation[0])


def flow_log_density(
    data: Known, x: np.ndarray, t: float = 0.0, v: np.ndarray | None = None
) -> np.ndarray:
    """What the flow makes of N(0, I): along each axis it keeps the quantile.

    The integrated Jacobian is A, with the logarithm of the stretch along each axis; v
    [B, D] takes v . A v in place of its trace.
    """
    alpha, deviation, stretch = stretches(data, t)
    quantile = alpha[0] * (x - data.mean) @ data.axes / deviation[0]
    x_T = alpha[1] * data.mean @ data.axes + deviation[1] * quantile
    share = np.ones_like(stretch) if v is None else (v @ data.axes) ** 2
    normal = (-0.5 * x_T**2 - 0.5 * np.log(2 * np.pi)).sum(-1)
    return normal + (share * stretch).sum(-1) + len(data.mean) * np.log(alpha[0])


def draw(data: Known) -> np.ndarray:
    """Four images of the data."""
    z = np.random.default_rng(0).normal(size=(4, AXES))
    return data.mean + (np.sqrt(data.values) * z) @ data.axes.T


SETS = {
    "standard": (np.zeros(AXES), np.eye(AXES)),
    "wide": (np.full(AXES, 0.3), 0.16 * np.eye(AXES)),
    "a point": (np.full(AXES, -0.5), 1e-4 * np.eye(AXES)),
    "correlated": (DATA.mean, DATA.covariance),
}


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=["linear", "cosine"])
@pytest.mark.parametrize("name", SETS)
def test_the_density_is_exact_where_the_data_are_normal(
    name: str, schedule: Schedule
) -> None:
    data = known(*SETS[name], schedule)
    x = draw(data)
    got = solve(
        data,
        KEY,
        jnp.asarray(x, jnp.float32),
        eps_fn=normal_eps,
        schedule=schedule,
        trace="exact",
    )
    exact = flow_log_density(data, x)
    np.testing.assert_allclose(got.log_density, exact, atol=AXES * 1e-3)
    assert (got.num_steps < 200).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_hutchinsons_estimate_is_v_a_v_of_the_integrated_jacobian(name: str) -> None:
    data = known(*SETS[name], LINEAR)
    x, keys = draw(data), per_image.image_keys(KEY, 4)
    signs = [probe_vectors(key, (AXES,), "hutchinson", 1)[0] for key in keys]
    got = solve(
        data, keys, jnp.asarray(x, jnp.float32), eps_fn=normal_eps, schedule=LINEAR
    )
    exact = flow_log_density(data, x, v=np.stack(signs))
    np.testing.assert_allclose(got.log_density, exact, atol=AXES * 1e-3)
    # Where no dimension knows of another, one vector of +-1 has no error.
    alike = np.allclose(exact, flow_log_density(data, x))
    assert alike == (name != "correlated")


def test_probes_are_the_axes_or_right_on_average() -> None:
    vectors = probe_vectors(KEY, (2, 3, 1), "exact", 1)
    np.testing.assert_array_equal(vectors.reshape(6, 6), np.eye(6))
    signs = probe_vectors(KEY, (4,), "hutchinson", 10_000)
    np.testing.assert_allclose(abs(signs), 0.01)
    np.testing.assert_allclose(signs.T @ signs, np.eye(4), atol=0.05)


@pytest.mark.slow
def test_the_flow_may_end_at_more_noise() -> None:
    data = known(*SETS["correlated"], LINEAR)
    x = draw(data)
    got = solve(
        data,
        KEY,
        jnp.asarray(x, jnp.float32),
        eps_fn=normal_eps,
        schedule=LINEAR,
        trace="exact",
        t_0=40.5,
    )
    exact = flow_log_density(data, x, 40.5)
    np.testing.assert_allclose(got.log_density, exact, atol=AXES * 1e-3)


def test_the_flow_of_normal_data_is_nearly_their_own_density() -> None:
    data = known(*SETS["correlated"], LINEAR)
    x, noise = draw(data), -np.expm1(data.log_alpha_bar[1])
    seen = DATA.covariance + noise / (1 - noise) * np.eye(AXES)
    gap = x - DATA.mean
    exact = -0.5 * np.einsum("bi,ij,bj->b", gap, np.linalg.inv(seen), gap)
    exact -= 0.5 * np.linalg.slogdet(2 * np.pi * seen)[1]
    np.testing.assert_allclose(flow_log_density(data, x), exact, atol=0.02)


@pytest.fixture(scope="module")
def mixture() -> tuple[np.ndarray, np.ndarray]:
    """A grid, and the log density there of a model of two normals; it is not linear."""
    data = oracles.Mixture(
        np.array([[0.3, 0.7]]), np.array([[-0.5, 0.4]]), np.array([[0.1, 0.2]])
    )
    x = np.linspace(-1.5, 1.8, 111)
    got = solve(
        {},
        KEY,
        jnp.asarray(x, jnp.float32)[:, None],
        eps_fn=oracles.mixture_eps(data, LINEAR),
        schedule=LINEAR,
    )
    return x, np.asarray(got.log_density, np.float64)


@pytest.mark.slow
def test_a_density_integrates_to_one(mixture: tuple[np.ndarray, np.ndarray]) -> None:
    x, log_density = mixture
    assert np.trapezoid(np.exp(log_density), x) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_the_density_of_a_mixture_is_its_own(
    mixture: tuple[np.ndarray, np.ndarray],
) -> None:
    x, log_density = mixture
    noise = -np.expm1(oracles.log_alpha_bar(LINEAR, np.array([0.0])))[0]
    density = np.zeros_like(x)
    for weight, mean, std in ((0.3, -0.5, 0.1), (0.7, 0.4, 0.2)):
        variance = std**2 + noise / (1 - noise)
        z = (x - mean) ** 2 / variance
        density += weight * np.exp(-0.5 * z) / np.sqrt(2 * np.pi * variance)
    # N(0, I) in place of q(x_T) is seen in the third digit.
    inside = density > 1e-3
    np.testing.assert_allclose(np.exp(log_density)[inside], density[inside], rtol=0.03)


@pytest.mark.slow
def test_a_model_of_x_0_has_the_density_of_one_of_eps() -> None:
    data = known(*SETS["correlated"], LINEAR)
    x = draw(data)
    got = solve(
        data,
        KEY,
        jnp.asarray(x, jnp.float32),
        x0_fn=normal_x0,
        schedule=LINEAR,
        trace="exact",
    )
    exact = flow_log_density(data, x)
    np.testing.assert_allclose(got.log_density, exact, atol=AXES * 1e-3)


@pytest.mark.slow
def test_the_density_of_an_image_does_not_depend_on_its_batch() -> None:
    data = known(*SETS["correlated"], LINEAR)
    keys, x = per_image.image_keys(KEY, 4), jnp.asarray(draw(data), jnp.float32)
    order = jnp.array([3, 0, 0, 0])
    density = partial(solve, data, eps_fn=normal_eps, schedule=LINEAR)
    together, others = density(keys, x), density(keys[order], 9 * x[order])
    alone = density(keys[order], x[order])
    np.testing.assert_allclose(together.log_density[3], alone.log_density[0], rtol=1e-6)
    assert together.num_steps[3] == alone.num_steps[0]
    assert (others.log_density != alone.log_density).all()


@pytest.mark.slow
def test_a_solver_that_runs_out_of_steps_says_nan() -> None:
    data = known(*SETS["standard"], LINEAR)
    got = solve(
        data,
        KEY,
        jnp.ones((1, AXES)),
        eps_fn=normal_eps,
        schedule=LINEAR,
        max_steps=2,
    )
    assert np.isnan(got.log_density).all() and got.num_steps.tolist() == [2]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"trace": "guess"}, "trace is 'guess'; it must be one of hutchinson, exact"),
        ({"probes": 0}, "probes is 0; give at least 1"),
        ({"t_0": 999.0}, "t_0 is 999.0; give a time from 0 to below 999"),
        ({"t_0": -1.0}, "t_0 is -1.0; give a time from 0"),
        ({"x0_fn": lambda *_: 0}, "give either eps_fn or x0_fn"),
        (
            {"schedule": make_schedule(jsd_beta_schedule(9))},
            "this schedule ends at alpha_bar = 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options: dict, sentence: str) -> None:
    eps_fn = oracles.gaussian_eps(0.0, 1.0, LINEAR)
    options = {"eps_fn": eps_fn, "schedule": LINEAR, **options}
    with pytest.raises(ValueError, match=sentence):
        ode_log_density({}, KEY, jnp.ones((1, 2)), **options)


def test_without_diffrax_one_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "diffrax", None)
    eps_fn = oracles.gaussian_eps(0.0, 1.0, LINEAR)
    with pytest.raises(
        ModuleNotFoundError, match=r'pip install "ddpm_jax\[evaluate\]"'
    ):
        ode_log_density({}, KEY, jnp.ones((1, 2)), eps_fn=eps_fn, schedule=LINEAR)


def test_dequantised_pixels_are_uniform_in_their_bins_and_one_density_counts_bins() -> (
    None
):
    x_0 = jnp.full((4, 1000), 3 / 127.5 - 1)
    places = (dequantise(KEY, x_0) - x_0) * 127.5
    assert float(abs(places).max()) <= 0.5 + 1e-4
    counts = np.histogram(places, bins=10, range=(-0.5, 0.5))[0]
    np.testing.assert_allclose(counts / places.size, 0.1, atol=4 * np.sqrt(0.09 / 4000))
    assert jnp.unique(places[:, 0]).size == 4
    # A density that is even over the 256 bins says 8 bits a pixel.
    even = -3 * jnp.log(256 * 2 / 255)
    assert float(bits_of(even, 3)) == pytest.approx(8, abs=1e-6)
