"""UniPC: a multistep predictor, corrected by the next call of the model.

Zhao et al. (2023), on the x_0 that the model predicts, with their B_2(h) = e^h - 1. A
step of order p predicts x_s from the last p predictions of x_0. The model's answer at
x_s, which the next step needs in any case, then corrects x_s itself: one more order,
for no more calls.
"""

from typing import NamedTuple
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.samplers.dpmpp import step_orders
from ddpm_jax.samplers.dpmpp import weighted_sum
from ddpm_jax.samplers.start import begin
from ddpm_jax.samplers.start import bind_model
from ddpm_jax.samplers.start import levels
from ddpm_jax.time_grids import TimeGrid


class Rows(NamedTuple):
    """What each step of the scan multiplies with what: [S], or [S, order + 1]."""

    before: jax.Array  # of x_t before the last step, to correct x_t
    predicted: jax.Array  # 1 where there is no step before
    correct: jax.Array  # of the x_0 seen, the newest first
    shrink: jax.Array  # of x_t, to predict the next
    predict: jax.Array  # of the x_0 seen, the newest first


def unipc_sample(
    params: object,
    keys: jax.Array,
    shape: tuple[int, ...],
    *,
    grid: TimeGrid,
    x_T: jax.Array | None = None,
    order: int = 2,
    lower_order_final: bool = True,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Draws images of a shape (B, H, W, C): Zhao et al. (2023), with multistep history.

    Arguments are those of `dpmpp_sample`; order is that of the predictor. The image at
    the end of the grid is not corrected, as the model is not asked there.

    Raises:
      ValueError: if keys, x_T, model, threshold or order do not fit.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 10)
      >>> truth = lambda params, x_t, t: jnp.full_like(x_t, 0.5)
      >>> unipc_sample({}, jax.random.key(0), (1, 2), grid=grid, x0_fn=truth).tolist()
      [[0.5, 0.5]]
    """
    ask = bind_model(params, grid, **model)
    orders = step_orders(grid, order, lower_order_final)
    _, start = begin(keys, shape, grid.num_timesteps, x_T)

    def one_step(
        carry: tuple[jax.Array, jax.Array, jax.Array], row: tuple[Level, Rows]
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], None]:
        (before, predicted, seen), (level, w) = carry, row
        seen = jnp.concatenate([ask(predicted, level, seen[0]).x_0[None], seen[:-1]])
        x_t = w.before * before + w.predicted * predicted
        x_t = x_t + weighted_sum(w.correct, seen)
        return (x_t, w.shrink * x_t + weighted_sum(w.predict, seen), seen), None

    nothing = jnp.zeros((order + 1, *shape), start.dtype)
    rows = (levels(grid), _rows(grid, orders, order))
    (_, x_0, _), _ = jax.lax.scan(one_step, (start, start, nothing), rows)
    return x_0


def _rows(grid: TimeGrid, orders: list[tuple[int, int]], order: int) -> Rows:
    """The weights of each step, with the corrector of the step before it."""
    predict, correct = zip(
        *(unipc_weights(grid, *pair) for pair in orders), strict=True
    )
    shrink, first = grid.sigma[1:] / grid.sigma[:-1], np.arange(len(orders)) == 0
    return Rows(
        before=jnp.asarray(np.append(0.0, shrink[:-1])),
        predicted=jnp.asarray(np.where(first, 1.0, 0.0)),
        correct=jnp.stack([np.zeros(4), *correct[:-1]])[:, : order + 1],
        shrink=jnp.asarray(shrink),
        predict=jnp.stack(predict)[:, : order + 1],
    )


def unipc_weights(
    grid: TimeGrid, step: int, order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [4] of x_0 in a step's prediction, and in its correction.

    The prediction's are of x_0 at this step, the one before and so on; the correction's
    begin with x_0 at the end of the step. Zhao et al. (2023), Sec. 3: a sum of
    differences x_0(lambda_k) - x_0(lambda_t), weighted so as to be exact where x_0 is a
    polynomial in lambda.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 4)
      >>> unipc_weights(grid, 3, 1)[0]  # the last step: x_0 as it was predicted last
      array([1., 0., 0., 0.])
    """
    ratio, alpha, axes = grid.half_log_snr, grid.alpha[step + 1], np.eye(4)
    h = ratio[step + 1] - ratio[step]
    phi = np.expm1(-h)
    predict, correct = -alpha * phi * axes[0], -alpha * phi * axes[1]
    if np.isinf(h):  # no polynomial in lambda, and nothing to correct
        return predict, correct
    r = np.append((ratio[step - order + 1 : step] - ratio[step])[::-1] / h, 1.0)
    powers, right = r ** np.arange(order)[:, None], _right_hand_side(h, order)
    # Where there is one difference, the authors take 1/2, which keeps the order.
    half = np.array([0.5])
    rho_p = half if order == 2 else np.linalg.solve(powers[:-1, :-1], right[:-1])
    rho_c = half if order == 1 else np.linalg.solve(powers, right)
    for k in range(1, order):
        predict = predict - alpha * phi * rho_p[k - 1] / r[k - 1] * (axes[k] - axes[0])
        difference = (axes[k + 1] - axes[1]) / r[k - 1]
        correct = correct - alpha * phi * rho_c[k - 1] * difference
    return predict, correct - alpha * phi * rho_c[-1] * (axes[0] - axes[1])


def _right_hand_side(h: float, order: int) -> np.ndarray:
    """Integrals of e^lambda lambda^n over a step, over B(h), for n = 1..order."""
    phi = np.expm1(-h)
    factorial, integral, right = 1, phi / -h - 1, []
    for n in range(1, order + 1):
        right.append(factorial * integral / phi)
        factorial *= n + 1
        integral = integral / -h - 1 / factorial
    return np.array(right)
