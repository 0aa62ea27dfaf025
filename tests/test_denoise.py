"""Denoising with a model that is exact: the posterior mean, and draws of the posterior.

Where the data is N(m, s^2) and y = x_0 + noise n, the mean of x_0 given y is
m + k (y - m) with k = s^2 / (s^2 + noise^2), and its variance k noise^2.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax import keys as per_image
from ddpm_jax.editing.denoise import denoise
from ddpm_jax.editing.denoise import denoise_sample
from ddpm_jax.editing.denoise import denoising_grid
from ddpm_jax.editing.noise_level import estimate_noise
from ddpm_jax.editing.noise_level import most_noise
from ddpm_jax.editing.noise_level import nearest_t
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule

SCHEDULE = make_schedule(linear_beta_schedule(1000))
JSD = make_schedule(SCHEDULES["jsd"](12, 0, 0))
KEY = jax.random.key(0)
MEAN, STD = 0.2, 0.5
EXACT = {
    "eps_fn": oracles.gaussian_eps(MEAN, STD, SCHEDULE),
    "schedule": SCHEDULE,
    "clip_x0": False,
}
ALPHA_BAR = np.cumprod(1 - linear_beta_schedule(1000))
LEVELS = np.sqrt((1 - ALPHA_BAR) / ALPHA_BAR)
STATIC = ("eps_fn", "x0_fn", "variance", "clip_x0")
clean = jax.jit(denoise, static_argnames=STATIC)
draw = jax.jit(denoise_sample, static_argnames=(*STATIC, "grid"))


def kept(noise: np.ndarray | float) -> np.ndarray | float:
    return STD**2 / (STD**2 + np.square(noise))


def with_noise(noise: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x_0 = MEAN + STD * rng.standard_normal((count, 1))
    return x_0, (x_0 + noise * rng.standard_normal(x_0.shape)).astype(np.float32)


def test_one_call_of_an_exact_model_is_the_posterior_mean_at_each_level() -> None:
    images = jnp.linspace(-2, 2, 6)[:, None]
    noise = LEVELS[[0, 1, 50, 300, 700, 950]]
    found = clean({}, images, noise=jnp.asarray(noise, jnp.float32), **EXACT)
    share = kept(noise)[:, None]
    expected = MEAN + share * (np.asarray(images) - MEAN)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    one = clean({}, images[3:4], noise=noise[3], **EXACT)
    np.testing.assert_allclose(one, found[3:4], atol=1e-6)


def test_t_is_the_nearest_and_below_one_step_the_first() -> None:
    between = np.sqrt(LEVELS[:-1] * LEVELS[1:])
    found = np.asarray(nearest_t(SCHEDULE, jnp.asarray(between, jnp.float32)))
    assert ((found == np.arange(999)) | (found == np.arange(1, 1000))).all()
    some = np.array([0, 1, 50, 300, 999])
    np.testing.assert_array_equal(
        nearest_t(SCHEDULE, jnp.asarray(LEVELS[some], jnp.float32)), some
    )
    assert nearest_t(SCHEDULE, jnp.array([0.0, 0.003])).tolist() == [0, 0]


@pytest.mark.parametrize("noise", [0.6, 1.5])
def test_its_error_is_the_least_and_that_of_a_draw_is_twice_as_large(
    noise: float,
) -> None:
    count = 8192
    x_0, images = with_noise(noise, count)
    least = kept(noise) * noise**2
    mean = clean({}, images, noise=noise, **EXACT)
    # A mean of n squares of a normal has a relative deviation of sqrt(2 / n).
    accurate = partial(pytest.approx, rel=4 * np.sqrt(2 / count))
    assert np.square(mean - x_0).mean() == accurate(least)
    grid = denoising_grid(SCHEDULE, noise, 200)
    chain = {"grid": grid, "eps_fn": EXACT["eps_fn"], "clip_x0": False}
    drawn = draw({}, KEY, images, variance="fixed_small", **chain)
    # At less noise there are few steps, and the draws of so few are too narrow.
    assert np.square(drawn - mean).mean() == accurate(least)
    assert np.square(drawn - x_0).mean() == accurate(2 * least)
    assert float((drawn - mean).mean()) == pytest.approx(
        0, abs=4 * np.sqrt(least / count)
    )
    # And a draw leans on the picture as much as the mean does.
    slope = np.polyfit(images[:, 0], drawn[:, 0], 1)[0]
    error = np.sqrt(least / count / images.var())
    assert slope == pytest.approx(kept(noise), abs=4 * error)


def test_a_draw_belongs_to_its_key_in_any_batch() -> None:
    _, images = with_noise(0.3, 3)
    keys = per_image.image_keys(KEY, 3)
    chain = {"grid": denoising_grid(SCHEDULE, 0.3, 5), "eps_fn": EXACT["eps_fn"]}
    together = draw({}, keys, images, **chain)
    alone = draw({}, keys[1:2], images[1:2], **chain)
    np.testing.assert_allclose(together[1:2], alone, atol=1e-6)
    assert abs(together - draw({}, jax.random.key(1), images, **chain)).min() > 1e-4


def test_what_a_model_says_of_the_variance_is_left_out() -> None:
    def both(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.concatenate([0.5 * x_t, jnp.full_like(x_t, 7.0)], axis=-1)

    images = jnp.linspace(-1, 1, 8).reshape(1, 2, 2, 2)
    found = denoise(
        {}, images, noise=np.sqrt(0.5), x0_fn=both, schedule=JSD, variance="learned"
    )
    # A level of jsd, whose alpha_bar is 1 - (t + 1) / T.
    np.testing.assert_allclose(found, 0.5 * np.sqrt(2 / 3) * images, rtol=1e-5)


def test_the_chain_begins_where_the_noise_is_that_of_the_picture() -> None:
    for t in (3, 258, 900):
        grid = denoising_grid(SCHEDULE, LEVELS[t], 1000)
        assert grid.times == (*range(t, -1, -1), -1)
    assert denoising_grid(SCHEDULE, LEVELS[900], 4).times == (900, 600, 300, 0, -1)
    assert denoising_grid(SCHEDULE, 0.001, 50).times == (0, -1)


@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0])
def test_noise_is_estimated_whatever_smooth_picture_it_is_in(noise: float) -> None:
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
    smooth = np.stack([rows * columns, np.sin(3 * rows + columns)])[..., None]
    # An edge, which the median leaves out.
    smooth[:, :, 40:] -= 0.7
    eps = np.random.default_rng(0).standard_normal(smooth.shape)
    found = estimate_noise(jnp.asarray(smooth + noise * eps, jnp.float32))
    # The median of n normals has a relative deviation of 1.17 / sqrt(n), and more of
    # these differences, which overlap.
    np.testing.assert_allclose(found, noise, rtol=4 * 1.5 * 1.17 / 64)
    np.testing.assert_allclose(estimate_noise(jnp.ones((1, 2, 2, 3))), [0.0])


def test_most_noise_is_that_of_the_last_step_with_signal() -> None:
    alpha_bar = np.prod(1 - linear_beta_schedule(1000))
    expected = np.sqrt((1 - alpha_bar) / alpha_bar)
    assert most_noise(SCHEDULE) == pytest.approx(expected, rel=1e-4)
    assert most_noise(JSD) == pytest.approx(np.sqrt(11), rel=1e-5)  # alpha_bar = 1/12


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"noise": -0.1}, r"noise is -0\.1; this schedule knows 0 to 157"),
        ({"noise": float("nan")}, "noise is nan; this schedule knows"),
        ({"noise": 200.0}, "noise is 200; this schedule knows"),
        ({"noise": jnp.ones(2)}, r"noise has shape \(2,\); give one, or one of 3"),
        ({"eps_fn": None}, "give either eps_fn or x0_fn"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        denoise({}, jnp.ones((3, 1)), **{"noise": 0.1, **EXACT, **wrong})


def test_a_grid_or_an_estimate_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="num_steps is 0; give at least 1"):
        denoising_grid(SCHEDULE, 0.1, 0)
    with pytest.raises(ValueError, match="noise is 200; this schedule knows"):
        denoising_grid(SCHEDULE, 200.0, 10)
    with pytest.raises(ValueError, match="of at least 2x2 pixels"):
        estimate_noise(jnp.ones((1, 1, 8, 1)))
