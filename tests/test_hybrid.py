"""Variance that is learned in a range, and the hybrid loss: Nichol and Dhariwal."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import gaussian_eps

from ddpm_jax.denoiser import ModelFn
from ddpm_jax.diffusion import at
from ddpm_jax.diffusion import predict_v
from ddpm_jax.losses import noisy
from ddpm_jax.losses import vlb_loss
from ddpm_jax.prediction import PREDICTIONS
from ddpm_jax.prediction import apart
from ddpm_jax.prediction import check_objective
from ddpm_jax.prediction import model_functions
from ddpm_jax.prediction import training_loss
from ddpm_jax.reverse import reverse_step
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.schedules import Schedule
from ddpm_jax.schedules import cosine_beta_schedule
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.zero_snr import rescale_zero_snr

BETAS = linear_beta_schedule(12, 0.02, 0.5)
SCHEDULE = make_schedule(BETAS)
MEAN, STD = 0.3, 0.5
SHAPE = (6, 4, 4, 2)
X_0 = jnp.asarray(
    np.random.default_rng(0).integers(0, 256, SHAPE) / 127.5 - 1, jnp.float32
)
KEY = jax.random.key(3)


def position_of_the_truth(betas: np.ndarray) -> np.ndarray:
    """Where in the range, -1 to 1, the variance of q(x_{t-1} | x_t) lies, by t [T].

    Of N(mean, STD^2) data: the posterior's variance, and what of x_0 x_t leaves open.
    """
    alpha_bar = np.cumprod(1 - betas)
    previous = np.append(1, alpha_bar[:-1])
    small = betas * (1 - previous) / (1 - alpha_bar)
    of_x_0 = STD**2 * (1 - alpha_bar) / (alpha_bar * STD**2 + 1 - alpha_bar)
    true = small + previous * (betas / (1 - alpha_bar)) ** 2 * of_x_0
    # The first of the posterior's variances is 0; the second stands in for it.
    log_small = np.log(np.append(small[1], small[1:]))
    return 2 * (np.log(true) - log_small) / (np.log(betas) - log_small) - 1


def with_position(network: ModelFn, position: ModelFn) -> ModelFn:
    """A network of 2C channels: what it predicts, and the position of the variance."""

    def both(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        second = jnp.broadcast_to(position(params, x_t, t), x_t.shape)
        return jnp.concatenate([network(params, x_t, t), second], axis=-1)

    return both


@pytest.mark.parametrize(("position", "betas"), [(1.0, True), (-1.0, False)])
def test_the_ends_of_the_range_are_beta_and_the_posteriors_variance(
    position: float, betas: bool
) -> None:
    t = jnp.array([0, 1, 5, 11, 11, 11])
    network = with_position(
        gaussian_eps(0, 1, SCHEDULE), lambda params, x, t: jnp.float32(position)
    )
    step = reverse_step(
        {}, X_0, t, eps_fn=network, schedule=SCHEDULE, variance="learned_range"
    )
    alpha_bar = np.cumprod(1 - BETAS)
    small = BETAS[1:] * (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:])
    exact = BETAS if betas else np.append(small[0], small)
    shape = step.log_variance.shape
    assert shape == SHAPE
    expected = np.broadcast_to(exact[np.asarray(t)].reshape(-1, 1, 1, 1), shape)
    np.testing.assert_allclose(jnp.exp(step.log_variance), expected, rtol=1e-5)


def predicted(params: dict, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return params["mean"] * x_t + 0.1


def position(params: dict, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return params["position"] * jnp.cos(5 * x_t)


def mean_loss(params: dict, loss: str, prediction: str) -> jax.Array:
    learned = loss != "simple"
    losses = training_loss(
        params,
        KEY,
        X_0,
        network=with_position(predicted, position) if learned else predicted,
        schedule=SCHEDULE,
        prediction=prediction,
        loss=loss,
        variance="learned_range" if learned else "fixed_large",
    )
    assert losses.shape == SHAPE[:1]
    return losses.mean()


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_the_hybrid_is_the_squared_error_and_a_thousandth_of_the_bound(
    prediction: str,
) -> None:
    params = {"mean": jnp.float32(0.7), "position": jnp.float32(0.4)}
    of = jax.value_and_grad(mean_loss)

    @jax.jit
    def of_all(params: dict) -> list:
        return [of(params, name, prediction) for name in ("simple", "vlb", "hybrid")]

    simple, bound, hybrid = jax.device_get(of_all(params))
    # L is T times its term at a uniform t.
    whole = simple[0] + 0.001 * 12 * bound[0]
    assert float(hybrid[0]) == pytest.approx(float(whole), rel=1e-5)
    # The mean has the gradient of the squared error, the variance that of the bound.
    mean, spread = (hybrid[1][name] for name in ("mean", "position"))
    assert float(mean) == pytest.approx(float(simple[1]["mean"]), rel=1e-5)
    of_bound = 0.001 * 12 * bound[1]["position"]
    assert float(spread) == pytest.approx(float(of_bound), rel=1e-4)
    assert abs(float(bound[1]["mean"])) > 1e-3 and abs(float(spread)) > 1e-6


@pytest.mark.parametrize(
    "prediction",
    ["eps", *(pytest.param(n, marks=pytest.mark.slow) for n in [*PREDICTIONS][1:])],
)
def test_the_hybrids_bound_sends_the_prediction_no_gradient_at_all(
    prediction: str,
) -> None:
    def bound(answer: jax.Array) -> jax.Array:
        model = model_functions(
            apart(answer)[1],
            schedule=SCHEDULE,
            prediction=prediction,
            variance="learned_range",
        )
        return vlb_loss({}, KEY, X_0, schedule=SCHEDULE, **model).mean()

    of_prediction, of_variance = jnp.split(
        jax.jit(jax.grad(bound))(jnp.concatenate([X_0, -X_0], -1)), 2, axis=-1
    )
    assert (of_prediction == 0).all()
    assert (abs(of_variance) > 0).mean() > 0.9


def test_the_hybrids_best_variance_on_gaussian_data_is_that_of_the_true_reverse() -> (
    None
):
    truth = position_of_the_truth(BETAS)
    assert (abs(truth[1:]) < 1).all() and np.ptp(truth) > 0.5
    x_0 = MEAN + STD * np.random.default_rng(1).normal(size=(8192, 2, 2, 1))
    x_0 = x_0.astype(np.float32)
    network = with_position(
        gaussian_eps(MEAN, STD, SCHEDULE), lambda params, x, t: params
    )

    def hybrid(position: jax.Array, t: jax.Array) -> jax.Array:
        options = {"loss": "hybrid", "variance": "learned_range"}
        return training_loss(
            position, KEY, x_0, network=network, schedule=SCHEDULE, t=t, **options
        ).mean()

    slope = jax.jit(jax.grad(hybrid))
    for t in (1, 3, 6):
        steps = jnp.full(len(x_0), t)
        below, at_truth, above = (
            float(slope(jnp.float32(truth[t] + off), steps)) for off in (-0.3, 0, 0.3)
        )
        assert below < 0 < above
        assert abs(at_truth) < 0.15 * min(-below, above)


def gaussian_v(schedule: Schedule) -> ModelFn:
    """The best possible v on N(MEAN, STD^2) data; eps and x_0 at every t, T-1 too."""
    eps_fn = gaussian_eps(MEAN, STD, schedule)

    def v_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        signal = at(schedule.sqrt_alphas_cumprod, t, x_t)
        noise = at(schedule.sqrt_one_minus_alphas_cumprod, t, x_t)
        # E[x_0 | x_t] of two Gaussians, which divides by no signal.
        gain = signal * STD**2 / (signal**2 * STD**2 + noise**2)
        x_0 = MEAN + gain * (x_t - signal * MEAN)
        return predict_v(schedule, x_0, t, eps_fn(params, x_t, t))

    return v_fn


@pytest.mark.parametrize("make_betas", [linear_beta_schedule, cosine_beta_schedule])
def test_a_chain_from_pure_noise_with_the_true_variance_draws_the_data_itself(
    make_betas: Callable[[int], np.ndarray],
) -> None:
    betas = rescale_zero_snr(make_betas(20))
    schedule, table = make_schedule(betas), position_of_the_truth(betas)
    network = with_position(
        gaussian_v(schedule),
        lambda params, x, t: at(jnp.asarray(table, jnp.float32), t, x),
    )
    model = model_functions(
        network, schedule=schedule, prediction="v", variance="learned_range"
    )
    sample = partial(ddpm_sample, schedule=schedule, clip_x0=False, **model)
    x_0 = jax.jit(lambda key: sample({}, key, (4096, 2, 2, 1)))(KEY)
    exact = np.sqrt(STD**2 - left_open_at_0(betas))
    assert float(x_0.mean()) == pytest.approx(MEAN, abs=4 * STD / 128)
    assert float(x_0.std()) == pytest.approx(exact, rel=4 / np.sqrt(2 * x_0.size))


def left_open_at_0(betas: np.ndarray) -> float:
    """The variance of x_0 that x_t leaves open at t = 0, where no noise is added."""
    signal = 1 - betas[0]
    return float(STD**2 * betas[0] / (signal * STD**2 + betas[0]))


def test_the_squared_error_of_the_best_v_is_what_cannot_be_known() -> None:
    betas = rescale_zero_snr(BETAS)
    schedule, alpha_bar = make_schedule(betas), np.cumprod(1 - betas)
    x_0 = MEAN + STD * np.random.default_rng(1).normal(size=(12 * 512, 8, 1, 1))
    x_0 = x_0.astype(np.float32)
    loss_of = partial(
        training_loss, network=gaussian_v(schedule), schedule=schedule, prediction="v"
    )
    loss = jax.jit(loss_of)({}, KEY, x_0, t=np.tile(np.arange(12), 512))
    # Var[v | x_t] = Var[x_0 | x_t] / (1 - ab), at alpha_bar = 0 as well.
    exact = STD**2 / (alpha_bar * STD**2 + 1 - alpha_bar)
    np.testing.assert_allclose(loss.reshape(512, 12).mean(0), exact, rtol=0.1)


@pytest.mark.slow
def test_the_hybrid_evaluates_the_network_once_and_draws_as_the_others_do() -> None:
    calls = []

    def network(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        calls.append((x_t, t))
        return jnp.concatenate([x_t, x_t], axis=-1)

    options = {"loss": "hybrid", "variance": "learned_range"}
    loss = partial(training_loss, network=network, schedule=SCHEDULE, **options)

    @jax.jit
    def asked(key: jax.Array) -> list:
        loss({}, key, X_0)
        return calls

    ((x_t, t),) = asked(KEY)
    steps, _, drawn = jax.jit(noisy)(KEY, X_0, SCHEDULE)
    np.testing.assert_array_equal(t, steps)
    np.testing.assert_allclose(x_t, drawn, rtol=1e-6)


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        (("v", "hybrid", "fixed_small", "none"), "trains the variance alone; use vari"),
        (("eps", "simple", "learned_range", "none"), "use loss 'vlb' or 'hybrid'"),
        (("eps", "vlb", "fixed_large", "p2"), "which has the weights of the bound"),
        (("eps", "simple", "fixed_large", "snr"), "be one of none, min_snr, p2"),
    ],
)
def test_what_does_not_go_together_is_answered_by_what_does(
    objective: tuple[str, str, str, str], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_objective(*objective)
    check_objective("v", "hybrid", "learned_range", "min_snr")
