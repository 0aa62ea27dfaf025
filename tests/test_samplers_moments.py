"""Chains with noise, and the moments of what they draw."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import ModelFn
from ddpm_jax.samplers.ancestral import ancestral_sample
from ddpm_jax.samplers.ddim import ddim_sample
from ddpm_jax.samplers.ddpm import ddpm_sample
from ddpm_jax.samplers.edm import churned
from ddpm_jax.samplers.edm import edm_sample
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

SCHEDULE = make_schedule(linear_beta_schedule(1000))
SHORT = make_schedule(linear_beta_schedule(20, 1e-3, 0.4))
KEY = jax.random.key(0)
COUNT = 8192
CHAINS = {
    "ancestral_large": partial(ancestral_sample, variance="fixed_large"),
    "ancestral_small": partial(ancestral_sample, variance="fixed_small"),
    "ancestral_between": partial(ancestral_sample, variance="learned_range"),
    "ddim_eta_1": partial(ddim_sample, eta=1.0),
    "ddim_eta_half": partial(ddim_sample, eta=0.5),
    "ddim_eta_0": ddim_sample,
}
ETA = {"ddim_eta_half": 0.5, "ddim_eta_0": 0.0}
LARGE = {"ancestral_large": 1.0, "ancestral_between": 0.3}


def gaussian(mean: float, std: float) -> ModelFn:
    one = np.ones((1, 1))
    return oracles.mixture_eps(oracles.Mixture(one, mean * one, std * one), SCHEDULE)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(
    "times",
    [(999, 900, 899, 130, 7), (999.0, 450.5, -1.0)],
    ids=["whole", "between"],
)
def test_chains_of_any_steps_have_the_exact_moments(chain: str, times: tuple) -> None:
    mean, std, large = 0.5, 0.4, LARGE.get(chain, 0.0)
    exact = gaussian(mean, std)

    def eps_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        position = jnp.full_like(x_t, 2 * large - 1)  # between log beta~ and log beta
        return jnp.concatenate([exact(params, x_t, t), position], axis=-1)

    x = CHAINS[chain](
        {},
        KEY,
        (COUNT, 1),
        grid=time_grid_at(SCHEDULE, times),
        eps_fn=eps_fn,
        clip_x0=False,
    )
    alpha_bars = np.exp(oracles.log_alpha_bar(SCHEDULE, np.array(times)))
    eta = ETA.get(chain, 1.0)
    m, v = oracles.respaced_moments(alpha_bars, mean, std, eta, large)
    assert float(x.mean()) == pytest.approx(m, abs=4 * np.sqrt(v / COUNT))
    assert float(x.var()) == pytest.approx(v, rel=4 * np.sqrt(2 / COUNT))


def tanh_model(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.tanh(x_t) * (1 + 0.01 * t[:, None])


def with_variance(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.concatenate([tanh_model(params, x_t, t), -x_t - 3.0], axis=-1)


def log_variance(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return -x_t - 3.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "variance", "clip_x0"),
    [
        (tanh_model, "fixed_large", True),
        (tanh_model, "fixed_small", False),
        (tanh_model, log_variance, True),
        (with_variance, "learned", False),
        (with_variance, "learned_range", True),
    ],
)
def test_all_steps_are_the_chain_of_ddpm_sample(
    model: ModelFn, variance: str, clip_x0: bool
) -> None:
    wanted = {"eps_fn": model, "variance": variance, "clip_x0": clip_x0}
    every = make_time_grid(SHORT, 20)
    respaced = ancestral_sample({}, KEY, (4, 3), grid=every, **wanted)
    whole = ddpm_sample({}, KEY, (4, 3), schedule=SHORT, **wanted)
    np.testing.assert_allclose(respaced, whole, atol=2e-5)


def test_all_steps_are_the_chain_of_ddpm_sample_on_jsd_too() -> None:
    jsd = make_schedule(SCHEDULES["jsd"](20, 1e-4, 0.02))
    grid = make_time_grid(jsd, 20)
    respaced = ancestral_sample({}, KEY, (4, 3), grid=grid, x0_fn=tanh_model)
    whole = ddpm_sample({}, KEY, (4, 3), schedule=jsd, x0_fn=tanh_model)
    np.testing.assert_allclose(respaced, whole, atol=2e-5)


def test_ddim_with_eta_1_is_the_ancestral_chain_of_small_variance() -> None:
    grid = make_time_grid(SHORT, 6)
    ddim = ddim_sample({}, KEY, (4, 3), grid=grid, eps_fn=tanh_model, eta=1.0)
    small = ancestral_sample(
        {}, KEY, (4, 3), grid=grid, eps_fn=tanh_model, variance="fixed_small"
    )
    np.testing.assert_allclose(ddim, small, atol=2e-5)


@pytest.mark.parametrize("times", [(19, 12, 9, 4, -1), (19.0, 12.5, 9.0, 4.25, -1.0)])
def test_chains_that_are_cut_in_two_are_whole(times: tuple) -> None:
    def draw(times: tuple, x_T: jax.Array | None) -> jax.Array:
        grid = time_grid_at(SHORT, times)
        return ancestral_sample({}, KEY, (4, 3), grid=grid, eps_fn=tanh_model, x_T=x_T)

    halves = draw(times[2:], draw(times[:3], None))
    np.testing.assert_allclose(halves, draw(times, None), atol=2e-6)


@pytest.mark.parametrize("whole", [True, False])
def test_no_two_draws_of_a_chain_have_one_number(whole: bool) -> None:
    grid = make_time_grid(SCHEDULE, 1000, "karras", whole=whole)
    numbers = [*grid.noise_numbers.tolist(), grid.num_timesteps]
    assert len(set(numbers)) == 1001


@pytest.mark.parametrize("num_timesteps", [16_000, 70_000, 1_000_000])
def test_draws_between_steps_have_numbers_of_their_own_for_any_T(
    num_timesteps: int,
) -> None:
    schedule = make_schedule(linear_beta_schedule(num_timesteps, 1e-7, 2e-5))
    grid = make_time_grid(schedule, 1000, whole=False)
    numbers = np.append(grid.noise_numbers, num_timesteps)
    assert np.unique(numbers).size == 1001
    # From 2^31 on are those of shared latents and of interpolation.
    assert numbers.max() < 2**30


def edm_grid(whole: bool) -> TimeGrid:
    return make_time_grid(SCHEDULE, 40, "karras", whole=whole)


@pytest.mark.slow
def test_churn_leaves_the_data_what_it_is() -> None:
    x = edm_sample(
        {},
        KEY,
        (COUNT, 1),
        grid=edm_grid(whole=True),
        eps_fn=gaussian(0.5, 0.4),
        clip_x0=False,
        churn_noise=1.0,
    )
    assert float(x.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(x.std()) == pytest.approx(0.4, abs=0.02)


def test_churn_raises_the_noise_by_its_factor_within_its_range_only() -> None:
    grid = edm_grid(whole=False)
    s = (grid.sigma / grid.alpha)[:-1]
    raised = churned(grid, 4.0, (0.1, 10.0))
    inside = (s >= 0.1) & (s <= 10.0)
    factor = (raised.sigma / raised.alpha)[:-1] / s
    np.testing.assert_allclose(factor, np.where(inside, 1.1, 1.0), rtol=1e-6)
    largest = churned(grid, 1e9, (0.1, 10.0))
    most = ((largest.sigma / largest.alpha)[:-1] / s).max()
    assert most == pytest.approx(np.sqrt(2), rel=1e-6)
    from_all_noise = make_time_grid(SCHEDULE, 40, whole=False)
    over = churned(from_all_noise, 1e9, (0.0, np.inf))
    assert max(over.times) == pytest.approx(999)
    whole = churned(edm_grid(whole=True), 4.0, (0.1, 10.0))
    assert all(isinstance(t, int) for t in whole.times)


def test_noise_of_a_step_belongs_to_its_t_on_whole_grids() -> None:
    keys = per_image.image_keys(KEY, 2)
    grid = time_grid_at(SHORT, (13, 6))
    wanted = {"eps_fn": tanh_model, "x_T": jnp.zeros((2, 3)), "grid": grid}
    x = ddim_sample({}, keys, (2, 3), eta=1.0, **wanted)
    z = per_image.normal(per_image.fold_in(keys, 13), (3,))
    ratio = np.asarray(x) / np.asarray(z)  # tanh(0) = 0, so that x is noise alone
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)
