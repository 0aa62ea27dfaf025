"""DDIM's inversion: an image, its latent, and the image again."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny

from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.config import Objective
from ddpm_jax.samplers.ddim import ddim_sample
from ddpm_jax.samplers.ddim_invert import ddim_invert
from ddpm_jax.samplers.ddim_invert import iterations
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

SCHEDULE = make_schedule(linear_beta_schedule(1000))
GRID = make_time_grid(SCHEDULE, 50)
# Pixels are near -0.8 or 0.7: two sharp clusters, between which eps changes fast.
DATA = oracles.Mixture(*np.array([[[0.5, 0.5]], [[-0.8, 0.7]], [[0.1, 0.05]]]))
ONE_PIXEL = oracles.mixture_eps(DATA, SCHEDULE)
X_0 = jnp.asarray(
    np.where(np.arange(48) % 5 < 2, -0.8, 0.7)
    + np.where(np.arange(48) % 5 < 2, 0.1, 0.05) * np.linspace(-2.5, 2.5, 48),
    jnp.float32,
).reshape(12, 4)


# Compiled as a whole, which is faster here than operation by operation.
STATIC = ("grid", "eps_fn", "x0_fn", "clip_x0")
invert = jax.jit(ddim_invert, static_argnames=(*STATIC, "max_iterations"))
draw = jax.jit(ddim_sample, static_argnames=("shape", *STATIC))


def eps_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    pixels, times = x_t.reshape(-1, 1), jnp.repeat(t, x_t.shape[1])
    return ONE_PIXEL(params, pixels, times).reshape(x_t.shape)


def error(x_T: jax.Array, grid: TimeGrid) -> float:
    wanted = {"grid": grid, "eps_fn": eps_fn, "clip_x0": False, "x_T": x_T}
    x_0 = draw({}, jax.random.key(0), X_0.shape, **wanted)
    return float(jnp.abs(x_0 - X_0).max())


def test_an_image_comes_back_from_its_latent_within_a_thousandth() -> None:
    x_T, left = invert({}, X_0, grid=GRID, eps_fn=eps_fn)
    assert error(x_T, GRID) <= 1e-3
    # What is left was seen before the last improvement, which makes it less.
    assert left.shape == (12,) and left.max() <= 5e-3


@pytest.mark.slow
def test_an_imperfect_eps_is_inverted_where_some_of_the_image_is_left() -> None:
    """Cosine betas end at 1 / 20,000 of it: no step from there can be inverted."""
    schedule = make_schedule(SCHEDULES["cosine"](1000, 1e-4, 0.02))
    exact = oracles.mixture_eps(DATA, schedule)

    def eps_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        pixels, times = x_t.reshape(-1, 1), jnp.repeat(t, x_t.shape[1])
        eps = exact(params, pixels, times).reshape(x_t.shape)
        return eps * (1 + 0.005 * jnp.sin(5 * x_t))

    for spacing, found in (("karras", True), ("leading", True), ("uniform", False)):
        grid = make_time_grid(schedule, 50, spacing)
        wanted = {"grid": grid, "eps_fn": eps_fn}
        x_T, left = invert({}, X_0, **wanted)
        assert (left.max() < 1e-3) == (left.max() < 1e-2) == found
        wanted |= {"clip_x0": False, "x_T": x_T}
        x_0 = draw({}, jax.random.key(0), X_0.shape, **wanted)
        assert (abs(x_0 - X_0).max() <= 1e-3) == found


def test_one_iteration_is_the_usual_inversion_which_does_not_come_back() -> None:
    x, eps, worst = np.float64(X_0), np.zeros(X_0.shape), np.zeros(12)
    log_ab = oracles.log_alpha_bar(SCHEDULE, np.array(GRID.times))
    alpha, sigma = np.exp(log_ab / 2), np.sqrt(-np.expm1(log_ab))
    for i in reversed(range(50)):
        a = alpha[i] / alpha[i + 1]
        b = sigma[i] - a * sigma[i + 1]
        guess = a * x + b * eps
        eps = DATA.eps(guess.reshape(-1, 1), log_ab[i]).reshape(x.shape)
        x_s, x = x, a * x + b * eps
        # From the guess one step of DDIM ends here, and not at x_s.
        off = (guess - b * eps) / a - x_s
        worst = np.maximum(worst, np.sqrt((off**2).mean(1)))
    x_T, left = invert({}, X_0, grid=GRID, eps_fn=eps_fn, max_iterations=1)
    np.testing.assert_allclose(x_T, x, atol=1e-3)
    np.testing.assert_allclose(left, worst, rtol=1e-2, atol=1e-4)
    assert left.max() > 1e-2
    assert error(x_T, GRID) > 1e-2


def test_a_latent_is_found_again_from_its_image() -> None:
    wide = DATA._replace(stds=np.array([[0.5, 0.4]]))
    model = {"grid": GRID, "eps_fn": oracles.mixture_eps(wide, SCHEDULE)}
    x_T = jnp.linspace(-2, 2, 41)[:, None]
    x_0 = draw({}, jax.random.key(0), x_T.shape, x_T=x_T, clip_x0=False, **model)
    np.testing.assert_allclose(invert({}, x_0, **model).x_T, x_T, atol=1e-3)


@pytest.mark.slow
def test_part_of_a_chain_is_inverted_and_a_model_of_x_0_serves_as_well() -> None:
    grid = time_grid_at(SCHEDULE, (600.0, 450.5, 300.0, 100.0, 20.0))
    x_t, _ = invert({}, X_0, grid=grid, eps_fn=eps_fn)
    assert error(x_t, grid) <= 1e-3

    def x0_fn(params: object, x: jax.Array, t: jax.Array) -> jax.Array:
        log_ab = jax.vmap(partial(oracles.log_ab_at, SCHEDULE))(t)[:, None]
        sigma = jnp.sqrt(-jnp.expm1(log_ab))
        return (x - sigma * eps_fn(params, x, t)) / jnp.exp(0.5 * log_ab)

    other, _ = invert({}, X_0, grid=grid, x0_fn=x0_fn)
    np.testing.assert_allclose(other, x_t, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("self_condition", [False, True])
def test_a_network_as_build_returns_it_is_inverted_and_says_how_well(
    self_condition: bool,
) -> None:
    data = dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=1)
    objective = Objective(self_condition=self_condition)
    parts = build(dataclasses.replace(tiny.CONFIG, data=data, objective=objective))
    init = partial(init_params, parts)
    shapes = jax.eval_shape(init, jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(0.2 * rng.standard_normal(x.shape), x.dtype), shapes
    )
    model = {**parts.sampler, "grid": make_time_grid(parts.schedule, 5)}
    model.pop("self_condition", None)  # refused: neither way shows a guess
    x_0 = jnp.asarray(np.tanh(rng.standard_normal((2, 8, 8, 1))), jnp.float32)
    x_T, left = ddim_invert(params, x_0, **model)
    model |= {"clip_x0": False, "x_T": x_T}
    again = ddim_sample(params, jax.random.key(0), x_0.shape, **model)
    assert abs(again - x_0).max() < 1e-3 and left.max() < 1e-3
    assert abs(x_T - x_0).max() > 0.1


def test_a_network_that_is_too_steep_is_not_inverted_and_says_so() -> None:
    def steep(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return 3 * jnp.sin(40 * x_t)

    assert invert({}, X_0, grid=GRID, eps_fn=steep).error.min() > 0.01


def test_an_image_is_inverted_alike_in_any_batch() -> None:
    found, alone = (
        invert({}, x_0, grid=GRID, eps_fn=eps_fn).x_T for x_0 in (X_0, X_0[3:5])
    )
    np.testing.assert_allclose(found[3:5], alone, atol=1e-5)


def test_each_step_has_the_iterations_that_the_steepest_eps_needs() -> None:
    """Where all data is one point, eps is (x - alpha x_0) / sigma: slope 1 / sigma."""
    grid = make_time_grid(SCHEDULE, 12)
    counts = iterations(grid, 1e-3, 25)
    for i, (t, s) in enumerate(zip(range(12), range(1, 13), strict=True)):
        a = grid.alpha[t] / grid.alpha[s]
        slope = (grid.sigma[t] - a * grid.sigma[s]) / grid.sigma[t]
        x, remaining = 1.0, []  # the fixed point is 0
        for _ in range(25):
            x = slope * x
            remaining.append(x)
        enough = np.array(remaining) <= 1e-3
        assert counts[i] == (np.argmax(enough) + 1 if enough.any() else 25)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"max_iterations": 0}, "max_iterations is 0; give a whole number"),
        ({"max_iterations": 2.5}, "max_iterations is 2.5; give a whole number"),
        ({"tolerance": 0.0}, r"tolerance is 0.0; give a share in \(0, 1\)"),
        ({"tolerance": float("nan")}, r"tolerance is nan; give a share"),
        ({"eps_fn": None}, "give either eps_fn or x0_fn"),
        ({"threshold": 0.99}, "threshold is 0.99; what it takes from x_0 can't be fou"),
        ({"self_condition": True}, "self_condition shows the x_0 of the noisier step"),
        (
            {
                "grid": make_time_grid(make_schedule(1 / np.arange(20, 0, -1)), 5),
                "eps_fn": None,
                "x0_fn": eps_fn,
            },
            "nothing of x_0 is left to invert",
        ),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ddim_invert({}, X_0, **{"grid": GRID, "eps_fn": eps_fn, **wrong})
