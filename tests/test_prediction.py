"""Four ways to say what a network knows, one process: Table 2 of Ho et al. (2020)."""

from collections.abc import Callable
from functools import cache
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import gaussian_eps

from ddpm_jax.denoiser import ModelFn
from ddpm_jax.diffusion import at
from ddpm_jax.diffusion import predict_v
from ddpm_jax.diffusion import predict_x0
from ddpm_jax.diffusion import q_posterior
from ddpm_jax.losses import vlb_loss
from ddpm_jax.prediction import LOSSES
from ddpm_jax.prediction import PREDICTIONS
from ddpm_jax.prediction import check_objective
from ddpm_jax.prediction import model_functions
from ddpm_jax.prediction import training_loss
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule

SCHEDULE = make_schedule(linear_beta_schedule(12, 0.02, 0.5))
SHAPE = (3, 4, 4, 2)
X_0 = jnp.asarray(
    np.random.default_rng(0).integers(0, 256, SHAPE) / 127.5 - 1, jnp.float32
)
EPS = gaussian_eps(0.1, 0.5, SCHEDULE)


def in_words_of(prediction: str, eps_fn: ModelFn) -> ModelFn:
    """The network that says in other words what eps_fn says."""

    def network(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        eps = eps_fn(params, x_t, t)
        x_0 = predict_x0(SCHEDULE, x_t, t, eps)
        mean, _ = q_posterior(SCHEDULE, x_0, x_t, t)
        v = predict_v(SCHEDULE, x_0, t, eps)
        return {"eps": eps, "x_0": x_0, "posterior_mean": mean, "v": v}[prediction]

    return network


def with_log_variance(network: ModelFn, log_variance: ModelFn) -> ModelFn:
    """A network of 2C channels: what it predicts, and the log variance."""

    def both(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        second = jnp.broadcast_to(log_variance(params, x_t, t), x_t.shape)
        return jnp.concatenate([network(params, x_t, t), second], axis=-1)

    return both


def large(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return at(SCHEDULE.log_variance_large, t, x_t)


def chain(network: ModelFn, prediction: str, variance: str) -> np.ndarray:
    model = model_functions(
        network, schedule=SCHEDULE, prediction=prediction, variance=variance
    )
    sample = partial(ddpm_sample, schedule=SCHEDULE, **model)
    return np.asarray(jax.jit(lambda key: sample({}, key, SHAPE))(jax.random.key(7)))


def bound(network: ModelFn, prediction: str, variance: str) -> np.ndarray:
    loss = partial(
        training_loss,
        network=network,
        schedule=SCHEDULE,
        prediction=prediction,
        loss="vlb",
        variance=variance,
    )
    return np.asarray(jax.jit(lambda key: loss({}, key, X_0))(jax.random.key(5)))


@cache
def in_words(answer: Callable[..., np.ndarray], prediction: str) -> np.ndarray:
    """What the network that says EPS in other words answers, with a fixed variance."""
    return answer(in_words_of(prediction, EPS), prediction, "fixed_large")


@pytest.mark.slow
@pytest.mark.parametrize("answer", [chain, bound])
def test_the_same_function_in_other_words_gives_the_same_chain_and_bound(
    answer: Callable[..., np.ndarray],
) -> None:
    answers = [in_words(answer, prediction) for prediction in PREDICTIONS]
    for other in answers[1:]:
        np.testing.assert_allclose(other, answers[0], rtol=1e-4, atol=1e-4)
    assert answers[0].std() > 0


@pytest.mark.slow
def test_words_taken_for_others_give_another_chain() -> None:
    truth = in_words(chain, "eps")
    for prediction in ("x_0", "posterior_mean", "v"):
        taken_for = chain(in_words_of("eps", EPS), prediction, "fixed_large")
        assert abs(taken_for - truth).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "prediction"), [*((chain, name) for name in PREDICTIONS), (bound, "v")]
)
def test_a_network_that_learned_a_fixed_variance_is_as_good_as_fixed(
    answer: Callable[..., np.ndarray], prediction: str
) -> None:
    network = in_words_of(prediction, EPS)
    learned = answer(with_log_variance(network, large), prediction, "learned")
    fixed = in_words(answer, prediction)
    np.testing.assert_allclose(learned, fixed, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_second_half_of_the_channels_is_each_pixels_log_variance() -> None:
    def rising(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return large(params, x_t, t) + jnp.linspace(-1.0, 1.0, 2)[None, None, None, :]

    network = in_words_of("eps", EPS)
    ours = bound(with_log_variance(network, rising), "eps", "learned")
    loss = partial(vlb_loss, schedule=SCHEDULE, eps_fn=network, variance=rising)
    given = jax.jit(lambda key: loss({}, key, X_0))(jax.random.key(5))
    np.testing.assert_allclose(ours, given, rtol=1e-5)
    assert abs(ours - in_words(bound, "eps")).min() > 1e-3


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_squared_error_is_that_of_the_words_the_network_uses(
    prediction: str,
) -> None:
    # Where all images are 0, x_t is noise alone, and the true eps is known.
    def true_eps(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return x_t / at(SCHEDULE.sqrt_one_minus_alphas_cumprod, t, x_t)

    def shifted(params: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return in_words_of(prediction, true_eps)(params, x_t, t) + params

    for shift in (0.0, 0.5):
        loss = training_loss(
            jnp.float32(shift),
            jax.random.key(0),
            jnp.zeros(SHAPE),
            network=shifted,
            schedule=SCHEDULE,
            prediction=prediction,
        )
        np.testing.assert_allclose(loss, np.full(3, shift**2), atol=1e-6)


def products(prediction: str, variance: str, backwards: bool) -> int:
    """Matrix products in the program of a chain, or of a gradient of the bound."""
    outputs = 8 if variance == "learned" else 4

    def network(params: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.tanh(x_t @ params)[..., :outputs]

    def bound(params: jax.Array, key: jax.Array) -> jax.Array:
        names = {"prediction": prediction, "loss": "vlb", "variance": variance}
        terms = training_loss(
            params, key, jnp.zeros(shape), network=network, schedule=SCHEDULE, **names
        )
        return terms.mean()

    model = model_functions(
        network, schedule=SCHEDULE, prediction=prediction, variance=variance
    )
    shape = (8, 8, 8, 4)
    chain = partial(ddpm_sample, shape=shape, schedule=SCHEDULE, **model)
    params = jax.ShapeDtypeStruct((4, 64), jnp.float32)
    program = jax.make_jaxpr(jax.grad(bound) if backwards else chain)
    return str(program(params, jax.random.key(0))).count("dot_general[")


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("backwards", [False, True])
def test_a_network_that_learns_the_variance_runs_once_forwards_and_backwards(
    prediction: str, backwards: bool
) -> None:
    once = 2 if backwards else 1  # the gradient by x_t is not needed
    for variance in ("learned", "fixed_large"):
        assert products(prediction, variance, backwards) == once


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_learned_variance_without_the_bound_is_refused(prediction: str) -> None:
    with pytest.raises(ValueError, match="sends the variance no gradient; use loss"):
        check_objective(prediction, "simple", "learned")
    check_objective(prediction, "vlb", "learned")


@pytest.mark.parametrize(
    ("objective", "sentence"),
    [
        (("noise", "simple", "fixed_large"), "prediction is 'noise'.* eps, x_0, post"),
        (("eps", "mse", "fixed_large"), f"loss is 'mse'.* {', '.join(LOSSES)}"),
        (("eps", "vlb", "large"), "variance is 'large'.* fixed_small, learned, learn"),
    ],
)
def test_an_unknown_name_is_answered_by_the_known_ones(
    objective: tuple[str, str, str], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_objective(*objective)
    prediction, loss, variance = objective
    with pytest.raises(ValueError, match=sentence):
        training_loss(
            {},
            jax.random.key(0),
            X_0,
            network=EPS,
            schedule=SCHEDULE,
            prediction=prediction,
            loss=loss,
            variance=variance,
        )
