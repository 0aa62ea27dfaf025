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
# Compiled as a whole, which is faster here than operation by operation.
draw = jax.jit(noisy)
log_likelihood = jax.jit(discretised_log_likelihood)


def pixels(count: int, shape: tuple[int, ...] = (4, 4, 1)) -> np.ndarray:
    values = np.random.default_rng(7).integers(0, 256, (count, *shape))
    values[0], values[1:2] = 0, 255
    return (values / 127.5 - 1).astype(np.float32)


def zeros(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.zeros_like(x_t)


def halved(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return 0.5 * x_t


def test_t_is_uniform_and_eps_is_unit_noise_of_the_image_alone() -> None:
    count = 4096
    t, eps, x_t = map(np.asarray, draw(KEY, np.zeros((count, 4), "f"), SCHEDULE))
    assert t.min() >= 0 and t.max() <= 999
    shares = np.histogram(t, bins=10, range=(0, 1000))[0] / count
    np.testing.assert_allclose(shares, 0.1, atol=4 * np.sqrt(0.09 / count))
    assert eps.var() == pytest.approx(1, abs=0.05)
    noise = np.sqrt(1 - np.cumprod(1 - BETAS))[t]
    np.testing.assert_allclose(x_t, noise[:, None] * eps, rtol=1e-6)
    keys = per_image.image_keys(KEY, 2, start=5)
    later = draw(keys, np.zeros((2, 4), "f"), SCHEDULE)
    np.testing.assert_array_equal(later[1], eps[5:7])


@pytest.mark.slow
def test_a_given_t_takes_the_place_of_the_drawn_one_and_leaves_the_noise() -> None:
    x_0, steps = pixels(3), np.array([0, 500, 999])
    t, eps, x_t = draw(KEY, x_0, SCHEDULE, steps)
    drawn, same_eps, _ = draw(KEY, x_0, SCHEDULE)
    np.testing.assert_array_equal(t, steps)
    np.testing.assert_array_equal(eps, same_eps)
    np.testing.assert_allclose(x_t, q_sample(SCHEDULE, x_0, steps, eps), rtol=1e-6)
    losses = {
        simple_loss: "eps_fn",
        x0_loss: "x0_fn",
        mean_loss: "mean_fn",
        v_loss: "v_fn",
        vlb_loss: "x0_fn",
    }

    @jax.jit
    def all_of_them(*t: jax.Array) -> list[jax.Array]:
        options = {"schedule": SCHEDULE, **({"t": t[0]} if t else {})}
        return [
            loss({}, KEY, x_0, **options, **{name: halved})
            for loss, name in losses.items()
        ]

    free = np.array(all_of_them())
    np.testing.assert_allclose(all_of_them(drawn), free, rtol=1e-6)
    assert (np.array(all_of_them(steps)) != free).all()


@jax.jit
def loss_of_the_optimal_eps(moments: tuple[float, float], x_0: jax.Array) -> jax.Array:
    eps_fn = oracles.gaussian_eps(*moments, SCHEDULE)
    return simple_loss({}, KEY, x_0, eps_fn=eps_fn, schedule=SCHEDULE)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.5, 0.1)])
def test_simple_loss_of_the_optimal_eps_is_the_noise_that_cannot_be_known(
    mean: float, std: float
) -> None:
    x_0 = mean + std * np.random.default_rng(1).normal(size=(4096, 8))
    loss = loss_of_the_optimal_eps((mean, std), x_0.astype(np.float32))
    # Var[eps | x_t] = ab s^2 / (ab s^2 + 1 - ab), averaged over t.
    signal = np.cumprod(1 - BETAS) * std**2
    exact = (signal / (signal + 1 - np.cumprod(1 - BETAS))).mean()
    assert loss.shape == (4096,)
    error = float(loss.std()) / 64
    assert float(loss.mean()) == pytest.approx(exact, abs=4 * error)


def test_the_squared_errors_are_of_what_the_network_predicts() -> None:
    x_0 = pixels(3)
    t, eps, x_t = draw(KEY, x_0, SCHEDULE)
    mean, _ = q_posterior(SCHEDULE, x_0, x_t, t)

    @jax.jit
    def losses(x_0: jax.Array) -> tuple[jax.Array, ...]:
        return (
            simple_loss({}, KEY, x_0, eps_fn=zeros, schedule=SCHEDULE),
            x0_loss({}, KEY, x_0, x0_fn=zeros, schedule=SCHEDULE),
            mean_loss({}, KEY, x_0, mean_fn=zeros, schedule=SCHEDULE),
            v_loss({}, KEY, x_0, v_fn=zeros, schedule=SCHEDULE),
        )

    with jax.numpy_dtype_promotion("strict"):
        found = losses(x_0)
    v = predict_v(SCHEDULE, x_0, t, eps)
    for loss, target in zip(found, (eps, x_0, mean, v), strict=True):
        np.testing.assert_allclose(loss, (target**2).mean((1, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small", "learned"])
def test_the_bounds_terms_are_the_papers_in_slow_float64(variance: str) -> None:
    steps = np.array([0, 0, 0, 1, 2, 500, 999])
    x_0 = pixels(len(steps))

    @jax.jit
    def term(x_0: jax.Array) -> tuple[jax.Array, ...]:
        keys = per_image.image_keys(KEY, len(steps))
        x_t = q_sample(SCHEDULE, x_0, steps, per_image.normal(keys, x_0.shape[1:]))
        learned = -4 + 0.5 * jnp.sin(10 * x_t)
        step = reverse_step(
            {},
            x_t,
            jnp.asarray(steps),
            x0_fn=lambda params, x, t: 0.7 * x,
            schedule=SCHEDULE,
            variance=variance if variance != "learned" else lambda *_: learned,
            clip_x0=False,
        )
        log_variance = jnp.broadcast_to(step.log_variance, x_0.shape)
        got = vlb_term(SCHEDULE, x_0, x_t, steps, step)
        return got, x_t, step.mean, log_variance

    got, *given = map(np.float64, term(x_0))
    for i, t in enumerate(steps):
        arrays = (array[i] for array in (np.float64(x_0), *given))
        exact = oracles.bound_term(BETAS, t, *arrays)
        assert got[i] == pytest.approx(exact, rel=2e-4, abs=1e-6)


@pytest.mark.slow
def test_the_bound_sampled_at_one_t_averages_to_the_sum_over_t() -> None:
    schedule = make_schedule(linear_beta_schedule(8, 0.05, 0.5))
    x_0 = np.broadcast_to(pixels(1, (2,)), (8192, 2))

    def x0_fn(params: object, x: jax.Array, t: jax.Array) -> jax.Array:
        return 0.9 * x

    @jax.jit
    def term(t: int) -> jax.Array:
        """L_t at one t, with noise of its own."""
        keys = per_image.image_keys(jax.random.key(t + 1), len(x_0))
        steps = jnp.full(len(x_0), t)
        x_t = q_sample(schedule, x_0, steps, per_image.normal(keys, (2,)))
        options = {"x0_fn": x0_fn, "schedule": schedule, "clip_x0": False}
        step = reverse_step({}, x_t, steps, **options)
        return vlb_term(schedule, x_0, x_t, steps, step).mean()

    sample = jax.jit(partial(vlb_loss, {}, x0_fn=x0_fn, schedule=schedule))
    sampled, mean = np.asarray(sample(KEY, x_0)), np.mean([term(t) for t in range(8)])
    error = sampled.std() / np.sqrt(len(x_0))
    assert sampled.mean() == pytest.approx(mean, abs=5 * error)


@pytest.mark.parametrize("std", [0.002, 0.0074, 0.1, 3.0])
@pytest.mark.parametrize("mean", [-1.3, -1.0, -0.2, 0.0, 0.7, 1.0, 1.1])
def test_pixel_probabilities_are_exact_far_into_the_tails(
    mean: float, std: float
) -> None:
    x = np.arange(256, dtype=np.float32) / 127.5 - 1
    got = log_likelihood(x, np.float32(mean), np.float32(2 * np.log(std)))
    exact = [
        oracles.pixel_log_probability(float(v), float(np.float32(mean)), std) for v in x
    ]
    np.testing.assert_allclose(got, exact, rtol=2e-4, atol=2e-5)


def test_pixel_probabilities_sum_to_one_and_their_gradient_is_finite() -> None:
    x = np.arange(256, dtype=np.float32) / 127.5 - 1
    total = np.exp(log_likelihood(x, np.float32(0.3), np.float32(-3.0))).sum()
    assert total == pytest.approx(1, abs=1e-5)

    def nll(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
        return -discretised_log_likelihood(x, mean, log_variance).sum()

    gradient = jax.jit(jax.grad(nll, (0, 1)))
    for mean in (-50.0, 0.0, 50.0):
        assert np.isfinite(gradient(mean, -10.0)).all()


def test_a_wrong_number_of_keys_is_refused() -> None:
    keys = per_image.image_keys(KEY, 2)
    with pytest.raises(ValueError, match=r"keys has shape \(2,\); give one key"):
        simple_loss({}, keys, pixels(3), eps_fn=zeros, schedule=SCHEDULE)
