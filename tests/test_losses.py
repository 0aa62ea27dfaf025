"""The objectives, against closed forms and a slow transcription of the paper."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax import keys as per_image
from ddpm_jax.diffusion import predict_v
from ddpm_jax.diffusion import q_posterior
from ddpm_jax.diffusion import q_sample
from ddpm_jax.losses import discretised_log_likelihood
from ddpm_jax.losses import mean_loss
from ddpm_jax.losses import noisy
from ddpm_jax.losses import simple_loss
from ddpm_jax.losses import v_loss
from ddpm_jax.losses import vlb_loss
from ddpm_jax.losses import vlb_term
from ddpm_jax.losses import x0_loss
from ddpm_jax.reverse import reverse_step
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule

BETAS = linear_beta_schedule(1000)
SCHEDULE = make_schedule(BETAS)
KEY = jax.random.key(0)


def pixels(count: int, shape: tuple[int, ...] = (4, 4, 1)) -> jax.Array:
    values = jax.random.randint(jax.random.key(7), (count, *shape), 0, 256)
    return values.at[0].set(0).at[1].set(255) / 127.5 - 1


def zeros(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.zeros_like(x_t)


def halved(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return 0.5 * x_t


def test_t_is_uniform_and_eps_is_unit_noise_of_the_image_alone() -> None:
    count = 4096
    t, eps, x_t = noisy(KEY, jnp.zeros((count, 4)), SCHEDULE)
    assert int(t.min()) >= 0 and int(t.max()) <= 999
    shares = np.histogram(t, bins=10, range=(0, 1000))[0] / count
    np.testing.assert_allclose(shares, 0.1, atol=4 * np.sqrt(0.09 / count))
    assert float(eps.var()) == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(x_t, q_sample(SCHEDULE, 0 * eps, t, eps))
    later = noisy(per_image.image_keys(KEY, 2, start=5), jnp.zeros((2, 4)), SCHEDULE)
    np.testing.assert_array_equal(later[1], eps[5:7])


def test_a_given_t_takes_the_place_of_the_drawn_one_and_leaves_the_noise() -> None:
    x_0, steps = pixels(3), jnp.array([0, 500, 999])
    t, eps, x_t = noisy(KEY, x_0, SCHEDULE, steps)
    drawn, same_eps, _ = noisy(KEY, x_0, SCHEDULE)
    np.testing.assert_array_equal(t, steps)
    np.testing.assert_array_equal(eps, same_eps)
    np.testing.assert_array_equal(x_t, q_sample(SCHEDULE, x_0, steps, eps))
    for loss, name in (
        (simple_loss, "eps_fn"),
        (x0_loss, "x0_fn"),
        (mean_loss, "mean_fn"),
        (v_loss, "v_fn"),
        (vlb_loss, "x0_fn"),
    ):
        whole = partial(loss, {}, KEY, x_0, schedule=SCHEDULE, **{name: halved})
        np.testing.assert_array_equal(whole(t=drawn), whole())
        assert (whole(t=steps) != whole()).all()


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.1)])
def test_simple_loss_of_the_optimal_eps_is_the_noise_that_cannot_be_known(
    mean: float, std: float
) -> None:
    x_0 = mean + std * jax.random.normal(jax.random.key(1), (4096, 8))
    eps_fn = oracles.gaussian_eps(mean, std, SCHEDULE)
    loss = simple_loss({}, KEY, x_0, eps_fn=eps_fn, schedule=SCHEDULE)
    # Var[eps | x_t] = ab s^2 / (ab s^2 + 1 - ab), averaged over t.
    signal = np.cumprod(1 - BETAS) * std**2
    exact = (signal / (signal + 1 - np.cumprod(1 - BETAS))).mean()
    assert loss.shape == (4096,)
    error = float(loss.std()) / 64
    assert float(loss.mean()) == pytest.approx(exact, abs=4 * error)


def test_the_squared_errors_are_of_what_the_network_predicts() -> None:
    x_0 = pixels(3)
    t, eps, x_t = noisy(KEY, x_0, SCHEDULE)
    mean, _ = q_posterior(SCHEDULE, x_0, x_t, t)
    with jax.numpy_dtype_promotion("strict"):
        losses = (
            simple_loss({}, KEY, x_0, eps_fn=zeros, schedule=SCHEDULE),
            x0_loss({}, KEY, x_0, x0_fn=zeros, schedule=SCHEDULE),
            mean_loss({}, KEY, x_0, mean_fn=zeros, schedule=SCHEDULE),
            v_loss({}, KEY, x_0, v_fn=zeros, schedule=SCHEDULE),
        )
    v = predict_v(SCHEDULE, x_0, t, eps)
    for loss, target in zip(losses, (eps, x_0, mean, v), strict=True):
        np.testing.assert_allclose(loss, (target**2).mean((1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small", "learned"])
def test_the_bounds_terms_are_the_papers_in_slow_float64(variance: str) -> None:
    steps = jnp.array([0, 0, 0, 1, 2, 500, 999])
    x_0 = pixels(len(steps))
    eps = per_image.normal(per_image.image_keys(KEY, len(steps)), x_0.shape[1:])
    x_t = q_sample(SCHEDULE, x_0, steps, eps)
    learned = -4 + 0.5 * jnp.sin(10 * x_t)
    step = reverse_step(
        {},
        x_t,
        steps,
        x0_fn=lambda params, x, t: 0.7 * x,
        schedule=SCHEDULE,
        variance=variance if variance != "learned" else lambda params, x, t: learned,
        clip_x0=False,
    )
    got = vlb_term(SCHEDULE, x_0, x_t, steps, step)
    log_variance = jnp.broadcast_to(step.log_variance, x_0.shape)
    for i, t in enumerate(steps.tolist()):
        arrays = (x_0[i], x_t[i], step.mean[i], log_variance[i])
        exact = oracles.bound_term(
            BETAS, t, *(np.asarray(a, np.float64) for a in arrays)
        )
        assert float(got[i]) == pytest.approx(exact, rel=2e-4, abs=1e-6)


def test_the_bound_sampled_at_one_t_averages_to_the_sum_over_t() -> None:
    betas = linear_beta_schedule(8, 0.05, 0.5)
    schedule = make_schedule(betas)
    x_0 = jnp.broadcast_to(pixels(1, (2,)), (8192, 2))
    x0_fn = lambda params, x, t: 0.9 * x  # noqa: E731
    sampled = vlb_loss({}, KEY, x_0, x0_fn=x0_fn, schedule=schedule)
    total = 0.0
    for t in range(8):  # every t, with noise of its own
        steps = jnp.full(len(x_0), t)
        eps = per_image.normal(
            per_image.image_keys(jax.random.key(t + 1), len(x_0)), (2,)
        )
        x_t = q_sample(schedule, x_0, steps, eps)
        step = reverse_step(
            {}, x_t, steps, x0_fn=x0_fn, schedule=schedule, clip_x0=False
        )
        total += float(vlb_term(schedule, x_0, x_t, steps, step).mean())
    error = float(sampled.std()) / np.sqrt(len(x_0))
    assert float(sampled.mean()) == pytest.approx(total / 8, abs=5 * error)


@pytest.mark.parametrize("std", [0.002, 0.0074, 0.1, 3.0])
@pytest.mark.parametrize("mean", [-1.3, -1.0, -0.2, 0.0, 0.7, 1.0, 1.1])
def test_pixel_probabilities_are_exact_far_into_the_tails(
    mean: float, std: float
) -> None:
    x = jnp.arange(256) / 127.5 - 1
    got = discretised_log_likelihood(x, jnp.float32(mean), jnp.float32(2 * np.log(std)))
    exact = [
        oracles.pixel_log_probability(float(v), float(np.float32(mean)), std) for v in x
    ]
    np.testing.assert_allclose(got, exact, rtol=2e-4, atol=2e-5)


def test_pixel_probabilities_sum_to_one_and_their_gradient_is_finite() -> None:
    x = jnp.arange(256) / 127.5 - 1

    def total(mean: jax.Array) -> jax.Array:
        return jnp.exp(discretised_log_likelihood(x, mean, jnp.float32(-3.0))).sum()

    assert float(total(jnp.float32(0.3))) == pytest.approx(1, abs=1e-5)

    def nll(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
        return -discretised_log_likelihood(x, mean, log_variance).sum()

    for mean in (-50.0, 0.0, 50.0):
        grads = jax.grad(nll, (0, 1))(jnp.float32(mean), jnp.float32(-10.0))
        assert all(jnp.isfinite(g) for g in grads)


def test_a_wrong_number_of_keys_is_refused() -> None:
    keys = per_image.image_keys(KEY, 2)
    with pytest.raises(ValueError, match=r"keys has shape \(2,\); give one key"):
        simple_loss({}, keys, pixels(3), eps_fn=zeros, schedule=SCHEDULE)
