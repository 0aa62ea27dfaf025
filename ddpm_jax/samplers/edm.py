"""Heun's method, and the stochastic sampler of EDM, on the process of DDPM.

Karras et al. (2022) divide x_t by alpha, so that y = x_t / alpha = x_0 + s eps with s =
sigma / alpha. The probability-flow ODE is then d y / d s = eps, which Heun's method
solves in two calls a step: Euler's step to the next s, and a second one with the mean
of the slopes at both ends. The stochastic sampler first adds fresh noise, which goes
back to a higher s, and so corrects the errors of earlier steps.

The scan runs over the 2 S - 1 calls of the model, not over the S steps, so that the
network is compiled once and the last step to x_0, where s = 0, costs one call.
"""

import dataclasses
import math
from typing import NamedTuple
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.samplers.start import begin
from ddpm_jax.samplers.start import bind_model
from ddpm_jax.spacings import times_of
from ddpm_jax.time_grids import TimeGrid


class Calls(NamedTuple):
    """What surrounds each call of the model, one row a call."""

    level: Level  # at which the model is asked
    first: jax.Array  # whether the call is the first of its step
    churn: jax.Array  # deviation of the noise that is added before it
    step: jax.Array  # s at the end of the step, less s at its beginning
    number: jax.Array  # of the noise, in the keys


class Carry(NamedTuple):
    """What one call of the model hands to the next, [B, ...] each; y is x_t / alpha."""

    y: jax.Array
    base: jax.Array  # y at the beginning of the step
    slope: jax.Array  # of y by s, there
    guess: jax.Array  # the x_0 that was predicted last


def edm_sample(
    params: object,
    keys: jax.Array,
    shape: tuple[int, ...],
    *,
    grid: TimeGrid,
    x_T: jax.Array | None = None,
    churn: float = 40.0,
    churn_range: tuple[float, float] = (0.05, 50.0),
    churn_noise: float = 1.003,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Draws images of a shape (B, H, W, C): Algorithm 2 of Karras et al. (2022).

    Arguments are those of `ancestral_sample`.

    Args:
      churn: S_churn, how much fresh noise there is; 0 is Heun's method. This and the
        next two are the authors' for ImageNet at 64 px.
      churn_range: S_min and S_max, the sigma / alpha between which noise is added.
      churn_noise: S_noise, the deviation of that noise.

    Raises:
      ValueError: if keys, x_T, model, threshold or numbers do not fit, or the grid
        starts where no signal is left.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 10)
      >>> truth = lambda params, x_t, t: jnp.full_like(x_t, 0.5)
      >>> x_0 = edm_sample({}, jax.random.key(0), (1, 2), grid=grid, x0_fn=truth)
      >>> x_0.round(4).tolist()
      [[0.5, 0.5]]
    """
    ask = bind_model(params, grid, **model)
    _check_churn(grid, churn, churn_range, churn_noise)
    keys, start = begin(keys, shape, grid.num_timesteps, x_T)

    def one_call(carry: Carry, row: Calls) -> tuple[Carry, None]:
        y, base, slope, guess = carry
        if churn > 0:
            z = per_image.normal(per_image.fold_in(keys, row.number), shape[1:])
            y = y + row.churn * z
        x_0, eps, _ = ask(row.level.alpha * y, row.level, guess)
        second = base + row.step * 0.5 * (slope + eps)
        end = jnp.where(row.first, y + row.step * eps, second)
        return Carry(end, jnp.where(row.first, y, base), eps, x_0), None

    rows = calls(grid, churn, churn_range, churn_noise)
    alpha = jnp.asarray(grid.alpha)
    y = start / alpha[0]
    nothing = jnp.zeros_like(y)
    carry, _ = jax.lax.scan(one_call, Carry(y, y, nothing, nothing), rows)
    return alpha[-1] * carry.y


def calls(
    grid: TimeGrid,
    churn: float = 0.0,
    churn_range: tuple[float, float] = (0.0, math.inf),
    churn_noise: float = 1.0,
) -> Calls:
    """The rows of the scan: two a step, but one where the step ends below t = 0.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> calls(make_time_grid(schedule, 3)).level.t.tolist()
      [999, 500, 500, 0, 0]
    """
    s = grid.sigma / grid.alpha
    higher = churned(grid, churn, churn_range)
    s_higher = (higher.sigma / higher.alpha)[:-1]
    added = churn_noise * np.sqrt(np.maximum(s_higher**2 - s[:-1] ** 2, 0))
    rows = Calls(
        level=Level(
            t=_interleaved(higher.t[:-1], grid.t[1:]),
            alpha=_interleaved(higher.alpha[:-1], grid.alpha[1:]),
            sigma=_interleaved(higher.sigma[:-1], grid.sigma[1:]),
        ),
        first=jnp.tile(jnp.array([True, False]), grid.num_steps),
        churn=_interleaved(added, 0 * added),
        step=_interleaved(s[1:] - s_higher, s[1:] - s_higher),
        number=_interleaved(grid.noise_numbers, grid.noise_numbers),
    )
    count = 2 * grid.num_steps - (grid.times[-1] < 0)
    cut: Calls = jax.tree.map(lambda table: table[:count], rows)
    return cut


def churned(grid: TimeGrid, churn: float, churn_range: tuple[float, float]) -> TimeGrid:
    """The grid with each t raised to where the fresh noise leads, not above T-1.

    sigma / alpha grows by the factor 1 + min(churn / S, sqrt(2) - 1), where it is in
    churn_range; whole t stay whole.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 4)
      >>> churned(grid, 40.0, (0.05, 50.0)).times
      (999, 715, 403, 0, -1)
    """
    below, s = np.array(grid.times[:-1]), (grid.sigma / grid.alpha)[:-1]
    inside = (churn_range[0] <= s) & (s <= churn_range[1])
    factor = 1 + min(churn / grid.num_steps, math.sqrt(2) - 1)
    above = times_of(np.array(grid.log_alphas_cumprod), -np.log(s * factor))
    if grid.whole:
        above = np.floor(above + 0.5).astype(int)
    raised = np.where(inside, np.maximum(above, below), below)
    return dataclasses.replace(grid, times=(*raised.tolist(), grid.times[-1]))


def _interleaved(first: np.ndarray, second: np.ndarray) -> jax.Array:
    return jnp.asarray(np.stack([first, second], axis=1).reshape(-1))


def _check_churn(
    grid: TimeGrid, churn: float, churn_range: tuple[float, float], churn_noise: float
) -> None:
    if grid.alpha[0] == 0:
        raise ValueError(
            "Heun and EDM divide by alpha, which is 0 where this grid starts; use "
            "another sampler, or a schedule that keeps some signal, such as linear"
        )
    for name, value in (("churn", churn), ("churn_noise", churn_noise)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}; give a number of at least 0")
    if not 0 <= churn_range[0] <= churn_range[1]:
        raise ValueError(f"churn_range is {churn_range}; give 0 <= lowest <= highest")
