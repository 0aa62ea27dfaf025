"""The forward process: Gaussians, and what determines what."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax.diffusion import predict_eps
from ddpm_jax.diffusion import predict_eps_from_v
from ddpm_jax.diffusion import predict_v
from ddpm_jax.diffusion import predict_x0
from ddpm_jax.diffusion import predict_x0_from_mean
from ddpm_jax.diffusion import predict_x0_from_v
from ddpm_jax.diffusion import q_posterior
from ddpm_jax.diffusion import q_sample
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import Schedule
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule

T = 1000
SCHEDULE = make_schedule(linear_beta_schedule(T))
STEPS = jnp.array([0, 1, 2, 10, 500, 998, 999])


def images(seed: int, count: int = len(STEPS)) -> jax.Array:
    return jax.random.uniform(
        jax.random.key(seed), (count, 4, 3, 2), minval=-1, maxval=1
    )


def test_one_step_transitions_compose_to_the_marginal() -> None:
    betas = linear_beta_schedule(T)
    signal, variance = 1.0, 0.0
    for t, beta in enumerate(betas):  # Eq. 2, one step after another
        signal, variance = signal * np.sqrt(1 - beta), variance * (1 - beta) + beta
        if t in STEPS.tolist():
            x_0, eps = images(0, 1), images(1, 1)
            x_t = q_sample(SCHEDULE, x_0, jnp.array([t]), eps)
            expected = signal * x_0 + np.sqrt(variance) * eps
            np.testing.assert_allclose(x_t, expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_posterior_is_bayes_rule(name: str) -> None:
    betas = SCHEDULES[name](T, 1e-4, 0.02)
    x_0, x_t = images(0), images(1)
    mean, variance = q_posterior(make_schedule(betas), x_0, x_t, STEPS)
    for i, t in enumerate(STEPS.tolist()):
        exact, exact_variance = oracles.posterior(
            betas, t, np.asarray(x_0[i], np.float64), np.asarray(x_t[i], np.float64)
        )
        np.testing.assert_allclose(mean[i], exact, rtol=1e-5, atol=1e-6)
        assert float(variance[i].squeeze()) == pytest.approx(exact_variance, rel=1e-6)


def test_the_posterior_at_t_0_is_x_0_itself() -> None:
    # A table indexed by t - 1 would wrap around to the last step here.
    t = jnp.zeros(len(STEPS), jnp.int32)
    mean, variance = q_posterior(SCHEDULE, images(0), images(1), t)
    np.testing.assert_allclose(mean, images(0), atol=1e-6)
    assert (variance == 0).all()


def test_eps_and_x0_and_the_posterior_mean_determine_each_other() -> None:
    x_0, eps = images(0), images(1)
    x_t = q_sample(SCHEDULE, x_0, STEPS, eps)
    noisy = dict(atol=3e-4)  # at t = 999 x_t holds 0.006 of x_0
    np.testing.assert_allclose(predict_x0(SCHEDULE, x_t, STEPS, eps), x_0, **noisy)
    np.testing.assert_allclose(predict_eps(SCHEDULE, x_t, STEPS, x_0), eps, atol=3e-5)
    mean, _ = q_posterior(SCHEDULE, x_0, x_t, STEPS)
    np.testing.assert_allclose(
        predict_x0_from_mean(SCHEDULE, x_t, STEPS, mean), x_0, atol=2e-3
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_x_t_and_v_tell_x_0_and_eps_at_every_t_even_where_alpha_bar_is_zero(
    name: str,
) -> None:
    schedule = make_schedule(SCHEDULES[name](T, 1e-4, 0.02))
    x_0, eps = images(0), images(1)
    x_t = q_sample(schedule, x_0, STEPS, eps)
    v = predict_v(schedule, x_0, STEPS, eps)
    got = predict_x0_from_v(schedule, x_t, STEPS, v)
    np.testing.assert_allclose(got, x_0, atol=1e-6)
    got = predict_eps_from_v(schedule, x_t, STEPS, v)
    np.testing.assert_allclose(got, eps, atol=1e-6)


def test_v_is_the_derivative_of_x_t_by_the_angle() -> None:
    x_0, eps = images(0), images(1)
    angle = jnp.arctan2(
        SCHEDULE.sqrt_one_minus_alphas_cumprod, SCHEDULE.sqrt_alphas_cumprod
    )[STEPS].reshape(-1, 1, 1, 1)

    def x_at(angle: jax.Array) -> jax.Array:
        return jnp.cos(angle) * x_0 + jnp.sin(angle) * eps

    ones = jnp.ones_like(angle)
    _, derivative = jax.jvp(x_at, (angle,), (ones,))
    v = predict_v(SCHEDULE, x_0, STEPS, eps)
    np.testing.assert_allclose(v, derivative, atol=1e-6)


def test_no_x_0_is_made_up_where_alpha_bar_is_zero() -> None:
    schedule = make_schedule(SCHEDULES["jsd"](10, 1e-4, 0.02))
    x_t = images(0, 2)
    x_0 = predict_x0(schedule, x_t, jnp.array([8, 9]), images(1, 2))
    assert jnp.isfinite(x_0[0]).all() and jnp.isnan(x_0[1]).all()


def test_the_process_keeps_strict_dtypes_and_works_at_t_equal_1() -> None:
    schedule = make_schedule([0.3])
    with jax.numpy_dtype_promotion("strict"):
        x_t = q_sample(schedule, images(0, 1), jnp.array([0]), images(1, 1))
        x_0 = predict_x0(schedule, x_t, jnp.array([0]), images(1, 1))
    assert x_t.dtype == jnp.float32
    np.testing.assert_allclose(x_0, images(0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("t", "sentence"),
    [
        (np.array([0, T]), "t is 1000; it must lie in 0..999"),
        (jnp.array([-1, 0]), "t is -1; it must lie in 0..999"),
        (np.array([0.0, 1.0]), "t is float64 of shape"),
        (np.array([0]), r"give integers of shape \(2,\)"),
    ],
)
def test_a_wrong_t_is_refused_in_host_code(t: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        q_sample(SCHEDULE, images(0, 2), t, images(1, 2))


def test_a_schedule_is_a_pytree_that_jit_takes() -> None:
    def draw(schedule: Schedule) -> jax.Array:
        return q_sample(schedule, images(0), STEPS, images(1))

    np.testing.assert_allclose(jax.jit(draw)(SCHEDULE), draw(SCHEDULE), atol=1e-6)
