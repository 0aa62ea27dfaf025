"""A network that is shown its own last guess of x_0: Chen et al. (2022)."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from ddpm_jax import keys as per_image
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.chains import Chain
from ddpm_jax.chains import sample_images
from ddpm_jax.config import Config
from ddpm_jax.config import Objective
from ddpm_jax.editing.ddrm import ddrm
from ddpm_jax.editing.denoise import denoise
from ddpm_jax.editing.denoise import denoise_sample
from ddpm_jax.editing.inpaint import inpaint
from ddpm_jax.editing.interpolate import interpolate
from ddpm_jax.editing.matrices import linear
from ddpm_jax.editing.sdedit import sdedit
from ddpm_jax.editing.shared_latents import share_latent
from ddpm_jax.prediction import self_conditioned
from ddpm_jax.samplers import SAMPLERS
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.validation import validate

SCHEDULE = make_schedule(linear_beta_schedule(6, 0.02, 0.7))
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2, 2, 1)), jnp.float32)
T = jnp.array([0, 1, 2, 4, 5])


def image_keys() -> jax.Array:
    return per_image.image_keys(jax.random.key(3), 5)


def config_with(**objective: Any) -> Config:  # noqa: ANN401
    return dataclasses.replace(
        tiny.CONFIG,
        objective=Objective(**{"self_condition": True} | objective),
        data=dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=1),
    )


def halfway(params: object, seen: jax.Array, t: jax.Array) -> jax.Array:
    """An x0_fn that goes half of the way from its guess to one half."""
    _, guess = jnp.split(seen, 2, axis=-1)
    return 0.5 * guess + 0.25


def after(calls: int) -> float:
    """What `halfway` has said at last, who began with zeros."""
    return 0.5 * (1 - 0.5**calls)


def test_the_papers_chain_shows_each_step_the_x0_of_the_step_before() -> None:
    x_0 = ddpm_sample(
        {},
        jax.random.key(0),
        (2, 3, 3, 1),
        x0_fn=halfway,
        schedule=SCHEDULE,
        self_condition=True,
    )
    np.testing.assert_allclose(x_0, after(6), atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_shows_each_call_the_x0_of_the_call_before(name: str) -> None:
    grid = make_time_grid(SCHEDULE, 4)
    calls = 7 if name in ("heun", "edm") else 4
    x_0 = SAMPLERS[name](
        {},
        jax.random.key(0),
        (2, 3, 3, 1),
        grid=grid,
        x0_fn=halfway,
        self_condition=True,
    )
    np.testing.assert_allclose(x_0, after(calls), atol=1e-5)


EDITS = {
    "sdedit": (4, lambda keys, x, **m: sdedit({}, keys, x, num_steps=4, **m)),
    "inpaint": (
        7,
        lambda keys, x, **m: inpaint(
            {}, keys, x, jnp.zeros(x.shape, bool), resamples=2, jump=3, **m
        ),
    ),
    "ddrm": (
        4,
        lambda keys, x, **m: ddrm(
            {}, keys, x, measurement=linear((2, 2, 1), np.zeros((1, 4))), **m
        ),
    ),
    "interpolate": (
        4,
        lambda keys, x, **m: interpolate(
            {}, keys, x, x, lambdas=(0.5,), num_steps=4, **m
        ),
    ),
    "share_latent": (
        3,
        lambda keys, x, **m: (
            share_latent({}, keys, x.shape, copies=2, num_steps=3, **m).x_0
        ),
    ),
    "denoise_sample": (4, lambda keys, x, **m: denoise_sample({}, keys, x, **m)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITS)
def test_what_edits_shows_each_call_the_x0_of_the_call_before(name: str) -> None:
    calls, edit = EDITS[name]
    grid = make_time_grid(SCHEDULE, 4)
    x = jnp.zeros((5, 1)) if name == "ddrm" else X
    x_0 = edit(image_keys(), x, grid=grid, x0_fn=halfway, self_condition=True)
    np.testing.assert_allclose(x_0, after(calls), atol=1e-5)


@pytest.mark.slow
def test_one_call_that_denoises_shows_no_guess() -> None:
    model = {"x0_fn": halfway, "schedule": SCHEDULE, "self_condition": True}
    np.testing.assert_allclose(denoise({}, X, noise=0.5, **model), after(1))


def network(params: jax.Array, seen: jax.Array, t: jax.Array) -> jax.Array:
    x_t, guess = jnp.split(seen, 2, axis=-1)
    return params[0] * x_t + params[1] * guess + params[2]


def test_half_of_the_images_see_the_guess_that_the_network_makes_without_one() -> None:
    params = jnp.array([2.0, 0.5, 0.1])

    @jax.jit
    def answer(keys: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        model = self_conditioned(network, keys, schedule=SCHEDULE, prediction="x_0")
        return model(params, x_t, t)

    blind = 2 * np.asarray(X) + 0.1
    assert (abs(blind) > 1).any()  # and so some guesses are clipped
    first, shown = np.clip(blind, -1, 1), np.asarray(answer(image_keys(), X, T)) - blind
    with_guess = abs(shown).max((1, 2, 3)) > 1e-6
    assert set(with_guess.tolist()) == {True, False}
    np.testing.assert_allclose(shown[with_guess], 0.5 * first[with_guess], atol=1e-6)
    many = per_image.image_keys(jax.random.key(0), 10_000)
    answers = answer(many, np.ones((10_000, 1), "f"), np.zeros(10_000, np.int32))
    share = (abs(np.asarray(answers) - 2.1) > 0.1).mean()
    assert abs(share - 0.5) < 5 * 0.005


def test_the_guess_sends_no_gradient() -> None:
    def loss(params: jax.Array) -> jax.Array:
        model = self_conditioned(
            network, image_keys(), schedule=SCHEDULE, prediction="x_0"
        )
        return model(params, X, T).sum()

    params = jnp.array([0.2, 0.5, 0.1])
    gradient = jax.jit(jax.grad(loss))(params)
    # Through the guess, x_t and the constant would count 0.5 times more where shown.
    np.testing.assert_allclose(gradient[0], X.sum(), rtol=1e-5)
    np.testing.assert_allclose(gradient[2], X.size, rtol=1e-5)


def test_a_guess_from_eps_is_refused_where_a_schedule_ends_in_noise() -> None:
    ending = make_schedule([0.5, 1.0])
    for prediction in ("x_0", "v"):
        self_conditioned(network, image_keys(), schedule=ending, prediction=prediction)
    with pytest.raises(ValueError, match="no eps tells what x_0 was"):
        self_conditioned(network, image_keys(), schedule=ending, prediction="eps")


@pytest.mark.parametrize(
    "prediction", ["eps", pytest.param("v", marks=pytest.mark.slow)]
)
def test_a_network_of_a_config_draws_and_has_a_loss(prediction: str) -> None:
    parts = build(config_with(prediction=prediction))
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(functools.partial(init_params, parts), jax.random.key(0))
    assert shapes["params"]["conv_in"]["kernel"].shape == (3, 3, 2, 8)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape, scale=0.1), shapes)
    x = jnp.asarray(rng.normal(size=(2, 8, 8, 1)), jnp.float32)
    t = jnp.array([1, 3])
    network = jax.jit(parts.network)
    bare = network(params, x, t)
    zeros = network(params, jnp.concatenate([x, 0 * x], axis=-1), t)
    np.testing.assert_array_equal(bare, zeros)
    chain = functools.partial(sample_images, parts=parts, chain=Chain("ddim", 3))
    shared = params, jax.random.key(0)
    assert jax.eval_shape(chain, shared, jnp.arange(2)).shape == (2, 8, 8, 1)
    keys, dropout_keys = (
        per_image.image_keys(jax.random.key(seed), 2) for seed in (4, 5)
    )
    assert jax.eval_shape(parts.loss_fn, params, keys, x, dropout_keys).shape == (2,)


def test_a_learned_variance_is_refused() -> None:
    with pytest.raises(ValueError, match="self_condition can't go with"):
        validate(config_with(variance="learned_range", loss="hybrid"))
