"""The weights of the squared errors, against their papers' formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import gaussian_eps

from ddpm_jax.denoiser import ModelFn
from ddpm_jax.diffusion import predict_v
from ddpm_jax.diffusion import predict_x0
from ddpm_jax.diffusion import q_posterior
from ddpm_jax.loss_weights import ERRORS
from ddpm_jax.loss_weights import LOSS_WEIGHTS
from ddpm_jax.loss_weights import loss_weight
from ddpm_jax.prediction import PREDICTIONS
from ddpm_jax.prediction import training_loss
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.zero_snr import rescale_zero_snr

BETAS = linear_beta_schedule(20, 0.01, 0.4)
SCHEDULE = make_schedule(BETAS)
STEPS = jnp.arange(20)
SNR = np.cumprod(1 - BETAS) / (1 - np.cumprod(1 - BETAS))

# As the papers and the codes that follow them write the weights of each loss.
FORMULAS = {
    ("min_snr", "x_0"): np.minimum(SNR, 5),
    ("min_snr", "eps"): np.minimum(SNR, 5) / SNR,
    ("min_snr", "v"): np.minimum(SNR, 5) / (SNR + 1),
    ("p2", "x_0"): SNR / (1 + SNR),
    ("p2", "eps"): 1 / (1 + SNR),
    ("p2", "v"): SNR / (1 + SNR) ** 2,
}


@pytest.mark.parametrize(("name", "prediction"), FORMULAS)
def test_the_weights_are_those_of_the_papers(name: str, prediction: str) -> None:
    with jax.numpy_dtype_promotion("strict"):
        got = loss_weight(SCHEDULE, STEPS, prediction=prediction, name=name)
    assert SNR.max() > 5 > SNR.min()
    np.testing.assert_allclose(got, FORMULAS[name, prediction], rtol=1e-5)


def test_without_a_weight_every_t_counts_the_same() -> None:
    for prediction in PREDICTIONS:
        got = loss_weight(SCHEDULE, STEPS, prediction=prediction, name="none")
        np.testing.assert_array_equal(got, np.ones(20))


def words_of(prediction: str, eps_fn: ModelFn) -> ModelFn:
    """What eps_fn says, said in another way."""

    def network(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        eps = eps_fn(params, x_t, t)
        x_0 = predict_x0(SCHEDULE, x_t, t, eps)
        answers = {
            "eps": eps,
            "x_0": x_0,
            "posterior_mean": q_posterior(SCHEDULE, x_0, x_t, t)[0],
            "v": predict_v(SCHEDULE, x_0, t, eps),
        }
        return answers[prediction]

    return network


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in LOSS_WEIGHTS if n != "none"])
def test_a_weight_is_the_same_objective_whatever_the_network_predicts(
    name: str,
) -> None:
    assert set(ERRORS) == set(PREDICTIONS)
    x_0 = jax.random.uniform(jax.random.key(1), (20, 3, 3, 1), minval=-1)
    losses = {
        prediction: training_loss(
            {},
            jax.random.key(0),
            x_0,
            network=words_of(prediction, gaussian_eps(0.1, 0.5, SCHEDULE)),
            schedule=SCHEDULE,
            prediction=prediction,
            weight=name,
            t=STEPS,
        )
        for prediction in PREDICTIONS
    }
    for prediction in PREDICTIONS:
        np.testing.assert_allclose(losses[prediction], losses["x_0"], rtol=2e-4)


@pytest.mark.parametrize("name", LOSS_WEIGHTS)
def test_the_weights_are_finite_where_a_schedule_ends_in_noise(name: str) -> None:
    schedule = make_schedule(rescale_zero_snr(BETAS))
    for prediction in set(PREDICTIONS) - {"eps"}:
        got = loss_weight(schedule, STEPS, prediction=prediction, name=name)
        assert jnp.isfinite(got).all() and (got >= 0).all()
