"""Solvers of the flow: their error falls by the order that they claim.

In float64, at times that lie between the whole t, from t = 900 to 20, evenly in lambda,
without lower orders in the last steps. The first steps of a multistep solver have lower
orders in any case; there x_0 hardly depends on lambda, so that their error is too small
to be seen in 160 steps.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax.samplers.ddim import ddim_sample
from ddpm_jax.samplers.dpmpp import dpmpp_sample
from ddpm_jax.samplers.dpmpp import dpmpp_weights
from ddpm_jax.samplers.dpmpp import step_orders
from ddpm_jax.samplers.edm import edm_sample
from ddpm_jax.samplers.unipc import unipc_sample
from ddpm_jax.samplers.unipc import unipc_weights
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.spacings import times_of
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

SCHEDULE = make_schedule(linear_beta_schedule(1000))
START, END = 900.0, 20.0
# The first dimension is N(0.4, 0.3^2), the second a mixture of two normals.
DATA = oracles.Mixture(
    weights=np.array([[0.5, 0.5], [0.3, 0.7]]),
    means=np.array([[0.4, 0.4], [-0.6, 0.5]]),
    stds=np.array([[0.3, 0.3], [0.3, 0.2]]),
)
X_T = np.random.default_rng(0).normal(size=(64, 2))
dpmpp = partial(dpmpp_sample, lower_order_final=False)
unipc = partial(unipc_sample, lower_order_final=False)
SOLVERS: dict[str, tuple[Callable[..., jax.Array], int]] = {
    "ddim": (ddim_sample, 1),
    "dpmpp_1": (partial(dpmpp, order=1), 1),
    "dpmpp_2": (partial(dpmpp, order=2), 2),
    "dpmpp_3": (partial(dpmpp, order=3), 3),
    "dpmpp_3_published": (partial(dpmpp, order=3, published=True), 2),
    "heun": (partial(edm_sample, churn=0.0), 2),
    # The corrector adds an order to the predictor's.
    "unipc_1": (partial(unipc, order=1), 2),
    "unipc_2": (partial(unipc, order=2), 3),
    "unipc_3": (partial(unipc, order=3), 4),
}


def interior_grid(num_steps: int) -> TimeGrid:
    ends = time_grid_at(SCHEDULE, (START, END))
    table = np.array(ends.log_alphas_cumprod)
    even = np.linspace(*ends.half_log_snr, num_steps + 1)
    return time_grid_at(SCHEDULE, (START, *times_of(table, even)[1:-1], END))


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    """Where the flow leads: in closed form, and by an ODE solver of order 8."""
    flow = oracles.mixture_flow(DATA, SCHEDULE, X_T, START, END)
    gaussian = oracles.gaussian_flow(0.4, 0.3, SCHEDULE, X_T[:, 0], START, END)
    np.testing.assert_allclose(flow[:, 0], gaussian, atol=1e-10)
    return np.stack([gaussian, flow[:, 1]], axis=1)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_error_falls_with_the_order_as_steps_double(
    name: str, exact: np.ndarray
) -> None:
    sample, order = SOLVERS[name]
    errors = []
    with jax.enable_x64(True):
        for num_steps in (80, 160):
            x = sample(
                {},
                jax.random.key(0),
                X_T.shape,
                grid=interior_grid(num_steps),
                eps_fn=oracles.mixture_eps(DATA, SCHEDULE),
                clip_x0=False,
                x_T=jnp.asarray(X_T),
            )
            assert x.dtype == jnp.float64
            errors.append(np.sqrt(((np.asarray(x) - exact) ** 2).mean(axis=0)))
    gaussian, mixture = np.log2(errors[0] / errors[1])
    assert mixture == pytest.approx(order, abs=0.35)
    assert gaussian == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize("nodes", [1, 2, 3, 4])
def test_weights_integrate_the_polynomial_through_what_was_seen(nodes: int) -> None:
    """sigma_s times the integral of e^lambda P(lambda), by Gauss-Legendre."""
    grid, step = make_time_grid(SCHEDULE, 10), 5
    ratio = grid.half_log_snr
    u, w = np.polynomial.legendre.leggauss(20)
    h = ratio[step + 1] - ratio[step]
    at = ratio[step] + h * (u + 1) / 2
    kernel = grid.sigma[step + 1] * np.exp(at) * w * h / 2

    def integrals(where: np.ndarray) -> np.ndarray:
        basis = [np.poly1d(np.polyfit(where, row, nodes - 1)) for row in np.eye(nodes)]
        return np.array([(kernel * polynomial(at)).sum() for polynomial in basis])

    past = integrals(ratio[step::-1][:nodes])
    to_the_end = integrals(ratio[step + 1 :: -1][:nodes])
    same = partial(np.testing.assert_allclose, atol=1e-8)
    if nodes in (1, 3):
        same(dpmpp_weights(grid, step, nodes)[:nodes], past)
    if nodes in (3, 4):
        same(unipc_weights(grid, step, nodes - 1)[1][:nodes], to_the_end)
    if nodes < 4:
        predict, _ = unipc_weights(grid, step, nodes)
        same(predict[:3], dpmpp_weights(grid, step, nodes))


def test_the_order_follows_from_the_steps_that_are_there() -> None:
    whole, interior = make_time_grid(SCHEDULE, 6), interior_grid(6)

    def orders(grid: TimeGrid, final: bool) -> list[int]:
        return [n for _, n in step_orders(grid, 3, final)]

    assert orders(whole, final=True) == [1, 2, 3, 3, 2, 1]
    assert orders(whole, final=False) == [1, 2, 3, 3, 3, 1]
    assert orders(interior, final=True) == [1, 2, 3, 3, 2, 1]
    assert orders(interior, final=False) == [1, 2, 3, 3, 3, 3]
    jsd = make_schedule(1 / np.arange(20, 0, -1))
    assert orders(make_time_grid(jsd, 5), final=False) == [1, 1, 2, 3, 1]
