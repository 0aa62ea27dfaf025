"""DPM-Solver++: the flow in lambda = log(alpha / sigma), by a multistep formula.

In lambda the probability-flow ODE has the exact solution (Lu et al. 2022b, Prop. 4.1)

    x_s = sigma_s / sigma_t x_t + sigma_s integral of e^lambda x_0(lambda) d lambda

from t to s, so that only the model's x_0 is approximated: by its last value (order 1,
which is DDIM), by a line through the last two (order 2) or a parabola through the last
three (order 3). Each step is then a fixed sum of x_t and those values.
"""

from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.samplers.start import begin
from ddpm_jax.samplers.start import bind_model
from ddpm_jax.samplers.start import levels
from ddpm_jax.time_grids import TimeGrid


def dpmpp_sample(
    params: object,
    keys: jax.Array,
    shape: tuple[int, ...],
    *,
    grid: TimeGrid,
    x_T: jax.Array | None = None,
    order: int = 2,
    lower_order_final: bool = True,
    published: bool = False,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Draws images of a shape (B, H, W, C): Algorithm 2 of Lu et al. (2022b).

    Arguments are those of `ancestral_sample`.

    Args:
      order: 1, 2 or 3, of which the first steps reach only 1 and 2.
      lower_order_final: the last steps have orders 2 and 1 again, which keeps short
        chains stable. A last step to x_0 is of order 1 in any case.
      published: the third order as the authors published it, for the same images as
        others; it converges as a second order. See `dpmpp_weights`.

    Raises:
      ValueError: if keys, x_T, model, threshold or order do not fit.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 10)
      >>> truth = lambda params, x_t, t: jnp.full_like(x_t, 0.5)
      >>> dpmpp_sample({}, jax.random.key(0), (1, 2), grid=grid, x0_fn=truth).tolist()
      [[0.5, 0.5]]
    """
    ask = bind_model(params, grid, **model)
    orders = step_orders(grid, order, lower_order_final)
    _, start = begin(keys, shape, grid.num_timesteps, x_T)

    def one_step(
        carry: tuple[jax.Array, jax.Array], row: tuple[Level, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        (x_t, seen), (level, shrink, weights) = carry, row
        seen = jnp.concatenate([ask(x_t, level, seen[0]).x_0[None], seen[:-1]])
        return (shrink * x_t + weighted_sum(weights, seen), seen), None

    weights = np.stack([dpmpp_weights(grid, i, n, published) for i, n in orders])
    shrink = jnp.asarray(grid.sigma[1:] / grid.sigma[:-1])
    rows = (levels(grid), shrink, jnp.asarray(weights[:, :order]))
    nothing = jnp.zeros((order, *shape), start.dtype)
    (x_0, _), _ = jax.lax.scan(one_step, (start, nothing), rows)
    return x_0


def weighted_sum(weights: jax.Array, seen: jax.Array) -> jax.Array:
    """Sum over n of weights [n] times arrays [n, ...].

    Example:
      >>> seen = jnp.array([[3.0, 4.0], [2.0, 2.0]])
      >>> weighted_sum(jnp.array([1.0, -0.5]), seen).tolist()
      [2.0, 3.0]
    """
    # As a matrix product it would be rounded to bfloat16 or TF32 on accelerators.
    return jnp.tensordot(weights, seen, 1, precision=jax.lax.Precision.HIGHEST)


def step_orders(
    grid: TimeGrid, order: int, lower_order_final: bool
) -> list[tuple[int, int]]:
    """Pairs (step, order): as high as the steps before and, if asked, after it allow.

    Where lambda is infinite, at x_0 or without any signal, no polynomial in it is, and
    the order is 1.

    Raises:
      ValueError: unless order is 1, 2 or 3.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 6)
      >>> [n for _, n in step_orders(grid, 3, lower_order_final=True)]
      [1, 2, 3, 3, 2, 1]
    """
    if order not in (1, 2, 3):
        raise ValueError(f"order is {order!r}; it must be 1, 2 or 3")
    finite = np.isfinite(grid.half_log_snr)
    orders = []
    for step in range(grid.num_steps):
        before = int(finite[: step + 1].sum()) if finite[step + 1] else 1
        after = grid.num_steps - step if lower_order_final else order
        orders.append((step, max(1, min(order, before, after))))
    return orders


def dpmpp_weights(
    grid: TimeGrid, step: int, order: int, published: bool = False
) -> np.ndarray:
    """What a step adds of its own x_0 and of those of the two steps before: [3].

    The third order needs slope = h x_0' and curvature = h^2 x_0''. The code of Lu et
    al. (2022b) takes the second divided difference for the latter, which is half of it.
    The missing factor of 2 costs an order, so it is put in, unless published is True.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 4)
      >>> dpmpp_weights(grid, 3, 1)  # the last step: x_0 as it was predicted last
      array([1., 0., 0.])
    """
    ratio, alpha = grid.half_log_snr, grid.alpha[step + 1]
    h = ratio[step + 1] - ratio[step]
    phi, (x_0, x_1, x_2) = np.expm1(-h), np.eye(3)
    weights = -alpha * phi * x_0
    if order >= 2:
        r_0 = (ratio[step] - ratio[step - 1]) / h
        first = (x_0 - x_1) / r_0
    if order == 2:
        weights = weights - 0.5 * alpha * phi * first
    if order == 3:
        r_1 = (ratio[step - 1] - ratio[step - 2]) / h
        second = (first - (x_1 - x_2) / r_1) / (r_0 + r_1)
        slope, curvature = first + r_0 * second, second if published else 2 * second
        weights = weights + alpha * (phi / h + 1) * slope
        weights = weights - alpha * ((phi + h) / h**2 - 0.5) * curvature
    return np.asarray(weights)
