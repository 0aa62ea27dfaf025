"""Interpolation and shared latents: what is shared, and what is not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax import keys as per_image
from ddpm_jax.editing.interpolate import interpolate
from ddpm_jax.editing.sdedit import sdedit
from ddpm_jax.editing.shared_latents import share_latent
from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import make_time_grid

BETAS = linear_beta_schedule(1000)
SCHEDULE = make_schedule(BETAS)
SHORT = make_schedule(linear_beta_schedule(12, 1e-3, 0.4))
GRID = make_time_grid(SHORT, 12)
KEY = jax.random.key(0)
STATIC = ("lambdas", "num_steps", "grid", "eps_fn", "variance", "clip_x0")
between = jax.jit(interpolate, static_argnames=STATIC)
share = jax.jit(share_latent, static_argnames=("shape", "copies", *STATIC[1:]))
FIRST = jnp.linspace(-0.9, 0.9, 3 * 2).reshape(3, 2)
SECOND = jnp.cos(9 * FIRST)
LAMBDAS = (0.0, 0.3, 0.5, 1.0)
LINEAR = oracles.gaussian_eps(0.1, 0.4, SHORT)


def tanh_model(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.tanh(x_t) * (1 + 0.01 * t[:, None])


def test_lambda_0_and_1_are_the_ends_redrawn() -> None:
    options = {"num_steps": 7, "grid": GRID, "eps_fn": tanh_model}
    mixed = between({}, KEY, FIRST, SECOND, lambdas=LAMBDAS, **options)
    assert mixed.shape == (3, 4, 2)
    redrawn = sdedit({}, KEY, FIRST, **options)
    np.testing.assert_allclose(mixed[:, 0], redrawn, atol=1e-6)
    # The other way round the second end has the noise of the first.
    back = between({}, KEY, SECOND, FIRST, lambdas=LAMBDAS, **options)
    assert abs(back[:, 0] - mixed[:, 3]).min() > 1e-3


@pytest.mark.slow
def test_a_linear_model_leads_to_a_straight_line_since_all_noise_is_shared() -> None:
    options = {"grid": GRID, "eps_fn": LINEAR, "clip_x0": False, "lambdas": LAMBDAS}
    for num_steps in (5, 12):
        mixed = between({}, KEY, FIRST, SECOND, num_steps=num_steps, **options)
        for place, weight in enumerate(LAMBDAS):
            straight = (1 - weight) * mixed[:, 0] + weight * mixed[:, 3]
            np.testing.assert_allclose(mixed[:, place], straight, atol=1e-5)
        assert abs(mixed[:, 0] - mixed[:, 3]).min() > 1e-3


def test_it_is_two_forward_processes_and_then_all_steps_that_remain() -> None:
    keys = per_image.image_keys(KEY, 3)
    steps = 4  # of 12: from t = 3, so that 4 calls of the model are left
    alpha_bar = np.cumprod(1 - np.asarray(SHORT.betas, np.float64))[3]
    eps = [
        np.asarray(per_image.normal(per_image.fold_in(keys, number), (2,)))
        for number in (12, 2**32 - 1)
    ]
    ends = [
        np.sqrt(alpha_bar) * np.asarray(x) + np.sqrt(1 - alpha_bar) * n
        for x, n in zip((FIRST, SECOND), eps, strict=True)
    ]
    x_t = jnp.asarray(0.7 * ends[0] + 0.3 * ends[1], jnp.float32)
    part = dataclasses.replace(GRID, times=(3, 2, 1, 0, -1))
    expected = ancestral_sample({}, keys, (3, 2), grid=part, eps_fn=tanh_model, x_T=x_t)
    options = {"num_steps": steps, "grid": GRID, "eps_fn": tanh_model}
    mixed = between({}, keys, FIRST, SECOND, lambdas=(0.3,), **options)
    np.testing.assert_allclose(mixed[:, 0], expected, atol=1e-5)


def test_without_steps_the_pictures_themselves_are_mixed() -> None:
    options = {"num_steps": 0, "grid": GRID, "eps_fn": tanh_model}
    mixed = between({}, KEY, FIRST, SECOND, lambdas=(0.25,), **options)
    np.testing.assert_allclose(mixed[:, 0], 0.75 * FIRST + 0.25 * SECOND, rtol=1e-6)


@pytest.mark.slow
def test_a_pair_and_a_family_are_the_same_in_any_batch() -> None:
    keys = per_image.image_keys(KEY, 3)
    options = {"num_steps": 6, "grid": GRID, "eps_fn": tanh_model}
    mixed = between({}, keys, FIRST, SECOND, lambdas=LAMBDAS, **options)
    alone = between({}, keys[2:], FIRST[2:], SECOND[2:], lambdas=LAMBDAS, **options)
    np.testing.assert_allclose(mixed[2:], alone, atol=1e-6)
    # JAX counts a key as used once it is stacked or cut out.
    family = share({}, per_image.image_keys(KEY, 3), (3, 2), copies=4, **options)
    last = per_image.image_keys(KEY, 1, start=2)
    fewer = share({}, last, (1, 2), copies=2, **options)
    np.testing.assert_allclose(family.x_0[2:, :2], fewer.x_0, atol=1e-6)


@pytest.mark.slow
def test_the_first_copy_is_the_plain_sample_and_all_have_its_x_t() -> None:
    options = {"grid": GRID, "eps_fn": tanh_model}
    plain = ancestral_sample({}, KEY, (3, 2), **options)
    for num_steps in (0, 5, 12):
        family = share({}, KEY, (3, 2), copies=3, num_steps=num_steps, **options)
        assert family.x_0.shape == (3, 3, 2)
        np.testing.assert_allclose(family.x_0[:, 0], plain, atol=1e-5)
        spread = abs(family.x_0[:, 1] - family.x_0[:, 2]).min()
        assert (spread > 1e-4) == (num_steps > 0)


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [150, 600])
def test_copies_agree_as_far_as_their_x_t_tells_x_0(num_steps: int) -> None:
    mean, std, count = 0.1, 0.4, 2048
    family = share(
        {},
        KEY,
        (count, 1),
        copies=2,
        num_steps=num_steps,
        grid=make_time_grid(SCHEDULE, 1000),
        eps_fn=oracles.gaussian_eps(mean, std, SCHEDULE),
        variance="fixed_small",
        clip_x0=False,
    )
    # Given x_t two draws are independent, so their correlation is the share of x_0's
    # variance that x_t explains.
    alpha_bar = np.cumprod(1 - BETAS)[num_steps - 1]
    told = alpha_bar * std**2 / (alpha_bar * std**2 + 1 - alpha_bar)
    x_0 = np.asarray(family.x_0[..., 0])
    error = 4 * (1 - told**2) / np.sqrt(count)
    assert np.corrcoef(x_0.T)[0, 1] == pytest.approx(told, abs=error + 0.01)
    np.testing.assert_allclose(x_0.std(0), std, rtol=0.06)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"num_steps": 13}, r"num_steps is 13; give 0..12, the steps of the grid"),
        ({"num_steps": 0.5}, "num_steps is 0.5; give a whole number"),
        ({"second": SECOND[:2]}, r"the ends have shapes \(3, 2\) and \(2, 2\)"),
        ({"keys": per_image.image_keys(KEY, 2)}, r"keys has shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict, sentence: str) -> None:
    good = {"keys": KEY, "second": SECOND, "num_steps": 3}
    given = {**good, **wrong}
    arrays = (given.pop("keys"), FIRST, given.pop("second"))
    with pytest.raises(ValueError, match=sentence):
        interpolate({}, *arrays, lambdas=(0.5,), grid=GRID, eps_fn=LINEAR, **given)
    with pytest.raises(ValueError, match="copies is 0; give at least 1"):
        share_latent({}, KEY, (1, 2), copies=0, num_steps=3, grid=GRID, eps_fn=LINEAR)
