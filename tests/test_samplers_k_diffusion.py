"""The same images as k-diffusion's samplers draw, of a mixture of normals, in float64.

They run on y = x_t / alpha, at sigmas that are sigma / alpha here, to which our times
between the whole t belong. tools/make_sampler_fixtures.py made the fixture.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax.samplers.ddim import ddim_sample
from ddpm_jax.samplers.dpmpp import dpmpp_sample
from ddpm_jax.samplers.edm import edm_sample
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.spacings import karras_times
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

SCHEDULE = make_schedule(linear_beta_schedule(1000))
with np.load(Path(__file__).parent / "fixtures" / "k_diffusion_samplers.npz") as file:
    FIXTURE = dict(file)
DATA = oracles.Mixture(*(FIXTURE[name] for name in oracles.Mixture._fields))
TABLE = np.array(make_time_grid(SCHEDULE, 1).log_alphas_cumprod)
TIMES = karras_times(TABLE, len(FIXTURE["sigmas"]) - 1, sigma_max=np.inf)
GRID = time_grid_at(SCHEDULE, (*TIMES.tolist(), -1.0))
multistep = partial(dpmpp_sample, lower_order_final=False)
SAME: dict[str, Callable[..., jax.Array]] = {
    "euler": ddim_sample,
    "heun": partial(edm_sample, churn=0.0),
    "heun_churn": partial(edm_sample, churn_noise=0.0),
    "dpmpp_2m": partial(multistep, order=2),
    "dpmpp_3m": partial(multistep, order=3, published=True),
}


def draw(name: str) -> np.ndarray:
    with jax.enable_x64(True):
        x_T = jnp.asarray(FIXTURE["x_T"])
        eps_fn = oracles.mixture_eps(DATA, SCHEDULE)
        wanted = {"grid": GRID, "eps_fn": eps_fn, "x_T": x_T, "clip_x0": False}
        return np.asarray(SAME[name]({}, jax.random.key(0), x_T.shape, **wanted))


def test_karras_times_have_their_sigmas() -> None:
    np.testing.assert_allclose(GRID.sigma / GRID.alpha, FIXTURE["sigmas"], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME)
def test_k_diffusion_draws_the_same_images(name: str) -> None:
    # The second step of its third order is of another formula of second order, where
    # x_0 hardly depends on lambda; without the factor published the gap is 1e-3.
    atol = 1e-6 if name == "dpmpp_3m" else 1e-8
    np.testing.assert_allclose(draw(name), FIXTURE[f"{name}/x_0"], rtol=0, atol=atol)


def test_every_case_of_the_fixture_is_compared() -> None:
    assert {key.split("/")[0] for key in FIXTURE if "/" in key} == SAME.keys()
