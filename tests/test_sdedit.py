"""SDEdit between its two ends, the picture and a fresh sample; and fewer steps."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax import keys as per_image
from ddpm_jax.diffusion import q_sample
from ddpm_jax.editing.sdedit import sdedit
from ddpm_jax.reverse import reverse_step
from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

BETAS = linear_beta_schedule(1000)
SCHEDULE = make_schedule(BETAS)
SHORT = make_schedule(linear_beta_schedule(12, 1e-3, 0.4))
JSD = make_schedule(SCHEDULES["jsd"](12, 0, 0))
EVERY = make_time_grid(SHORT, 12)
KEY = jax.random.key(0)
STATIC = ("num_steps", "grid", "eps_fn", "x0_fn", "variance", "clip_x0")
redraw = jax.jit(sdedit, static_argnames=STATIC)
IMAGES = jnp.linspace(-0.9, 0.9, 3 * 2).reshape(3, 2)


def tanh_model(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.tanh(x_t) * (1 + 0.01 * t[:, None])


@pytest.mark.slow
def test_no_steps_return_the_picture_and_all_steps_are_sampling() -> None:
    same = redraw({}, KEY, IMAGES, num_steps=0, eps_fn=tanh_model, grid=EVERY)
    assert (np.asarray(same) == np.asarray(IMAGES)).all()
    # jsd ends in pure noise, so nothing of the picture is left.
    grid = make_time_grid(JSD, 12)
    edited = redraw({}, KEY, IMAGES, num_steps=12, x0_fn=tanh_model, grid=grid)
    plain = ddpm_sample({}, KEY, IMAGES.shape, x0_fn=tanh_model, schedule=JSD)
    np.testing.assert_allclose(edited, plain, atol=1e-5)
    # The paper's schedule leaves 0.6 % of it, which a model of N(0, 1) keeps.
    options = {"eps_fn": oracles.gaussian_eps(0, 1, SCHEDULE), "clip_x0": False}
    grid = make_time_grid(SCHEDULE, 1000)
    edited = redraw({}, KEY, IMAGES, num_steps=1000, grid=grid, **options)
    plain = ddpm_sample({}, KEY, IMAGES.shape, schedule=SCHEDULE, **options)
    assert 0 < abs(edited - plain).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [100, 300, 600])
def test_the_share_of_a_picture_that_is_kept_is_that_of_bayes_rule(
    num_steps: int,
) -> None:
    mean, std, picture, count = 0.2, 0.5, 0.9, 4096
    images = jnp.full((count, 1), picture)
    eps_fn = oracles.gaussian_eps(mean, std, SCHEDULE)
    x_0 = redraw(
        {},
        KEY,
        images,
        num_steps=num_steps,
        eps_fn=eps_fn,
        grid=make_time_grid(SCHEDULE, 1000),
        variance="fixed_small",
        clip_x0=False,
    )
    # x_0' is drawn from p(x_0 | x_t), so E x_0' = mean + kept (picture - mean), and
    # its variance is that of the posterior and that of the noise in x_t, shrunk.
    ab = np.cumprod(1 - BETAS)[num_steps - 1]
    kept = ab * std**2 / (ab * std**2 + 1 - ab)
    variance = kept**2 * (1 - ab) / ab + (1 - kept) * std**2
    assert float(x_0.mean()) == pytest.approx(mean + kept * (picture - mean), abs=0.03)
    assert float(x_0.std()) == pytest.approx(np.sqrt(variance), rel=0.06)


def test_it_is_the_forward_process_and_then_a_python_loop() -> None:
    keys = per_image.image_keys(KEY, 3)
    eps = per_image.normal(per_image.fold_in(keys, 12), (2,))
    x = q_sample(SHORT, IMAGES, jnp.full(3, 6), eps)

    @jax.jit
    def step_of(x: jax.Array, t: int) -> jax.Array:
        step = reverse_step({}, x, jnp.full(3, t), eps_fn=tanh_model, schedule=SHORT)
        z = per_image.normal(per_image.fold_in(keys, t), (2,))
        noise = jnp.exp(0.5 * step.log_variance) * z
        return step.mean + jnp.where(t > 0, noise, 0.0)

    for t in reversed(range(7)):
        x = step_of(x, t)
    edited = redraw({}, keys, IMAGES, num_steps=7, eps_fn=tanh_model, grid=EVERY)
    np.testing.assert_allclose(edited, x, atol=1e-5)
    alone = redraw(
        {}, keys[1:2], IMAGES[1:2], num_steps=7, eps_fn=tanh_model, grid=EVERY
    )
    np.testing.assert_allclose(edited[1:2], alone, atol=1e-6)


def test_part_of_a_short_chain_goes_from_its_own_times() -> None:
    keys, grid = per_image.image_keys(KEY, 3), make_time_grid(SCHEDULE, 20)
    ab = np.cumprod(1 - BETAS)[grid.times[13]]
    eps = per_image.normal(per_image.fold_in(keys, 1000), (2,))
    edited = redraw({}, keys, IMAGES, num_steps=7, eps_fn=tanh_model, grid=grid)
    plain = ancestral_sample(
        {},
        keys,
        IMAGES.shape,
        grid=time_grid_at(SCHEDULE, grid.times[13:]),
        eps_fn=tanh_model,
        x_T=np.sqrt(ab) * IMAGES + np.sqrt(1 - ab) * eps,
    )
    np.testing.assert_allclose(edited, plain, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_steps": 13}, r"num_steps is 13; give 0..12, the steps of the grid"),
        ({"num_steps": 0.5}, "num_steps is 0.5; give a whole number"),
        ({"keys": per_image.image_keys(KEY, 2)}, r"keys has shape \(2,\)"),
        ({"eps_fn": None}, "give either eps_fn or x0_fn"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict, sentence: str) -> None:
    good = {"keys": KEY, "num_steps": 3, "eps_fn": tanh_model, "grid": EVERY}
    arguments = {**good, **wrong}
    keys = arguments.pop("keys")
    with pytest.raises(ValueError, match=sentence):
        sdedit({}, keys, IMAGES, **arguments)
