"""The same images as diffusers' schedulers draw, where conventions agree.

tools/make_sampler_fixtures.py made the fixture, and says what was settled how.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddpm_jax.samplers.ddim import ddim_sample
from ddpm_jax.samplers.dpmpp import dpmpp_sample
from ddpm_jax.samplers.edm import edm_sample
from ddpm_jax.samplers.unipc import unipc_sample
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.spacings import karras_times
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

SCHEDULE = make_schedule(linear_beta_schedule(1000))
with np.load(Path(__file__).parent / "fixtures" / "diffusers_samplers.npz") as file:
    FIXTURE = dict(file)
published = partial(dpmpp_sample, order=3, clip_x0=False, published=True)
SAME: dict[str, Callable[..., jax.Array]] = {
    "ddim_clipped": partial(ddim_sample, clip_x0=True),
    "ddim": partial(ddim_sample, clip_x0=False),
    "dpmpp_1": partial(dpmpp_sample, order=1, clip_x0=False),
    "dpmpp_2": partial(dpmpp_sample, order=2, clip_x0=False),
    "dpmpp_2_threshold": partial(dpmpp_sample, order=2, threshold=0.8),
    "dpmpp_3": published,
    "dpmpp_3_long": partial(published, lower_order_final=False),
    "unipc_1": partial(unipc_sample, order=1, clip_x0=False),
    "unipc_2": partial(unipc_sample, order=2, clip_x0=False),
    "unipc_3": partial(unipc_sample, order=3, clip_x0=False),
    "heun": partial(edm_sample, churn=0.0, clip_x0=False),
}


def model(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    return jnp.tanh(x_t) * (1 - t[:, None, None] / 4000)


def draw(name: str, **changed: bool) -> np.ndarray:
    times = (*FIXTURE[f"{name}/times"].tolist(), -1)
    with jax.enable_x64(True):
        x_T = jnp.asarray(FIXTURE["x_T"])
        grid = time_grid_at(SCHEDULE, times)
        wanted = {"grid": grid, "eps_fn": model, "x_T": x_T, **changed}
        return np.asarray(SAME[name]({}, jax.random.key(0), x_T.shape, **wanted))


@pytest.mark.parametrize("name", SAME)
def test_diffusers_draws_the_same_images(name: str) -> None:
    np.testing.assert_allclose(draw(name), FIXTURE[f"{name}/x_0"], atol=1e-4)


def test_every_case_of_the_fixture_is_compared() -> None:
    cases = {key.split("/")[0] for key in FIXTURE if "/" in key}
    assert cases == SAME.keys()


def test_the_corrected_third_order_is_not_the_published_one() -> None:
    corrected = draw("dpmpp_3", published=False)
    assert np.abs(corrected - FIXTURE["dpmpp_3/x_0"]).max() > 1e-3


def test_karras_times_have_diffusers_sigmas() -> None:
    table = np.array(make_time_grid(SCHEDULE, 1).log_alphas_cumprod)
    times = karras_times(table, 10, sigma_max=np.inf)
    grid = time_grid_at(SCHEDULE, (*times.tolist(), -1.0))
    sigmas = (grid.sigma / grid.alpha)[:-1]
    np.testing.assert_allclose(sigmas, FIXTURE["karras_sigmas"], rtol=1e-3)
