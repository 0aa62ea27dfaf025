"""Fewer steps: a subset of the t is a diffusion process with a schedule of its own.

Nichol & Dhariwal (2021), Sec. 4: from t to the s before it in the subset, beta is
1 - alpha_bar_t / alpha_bar_s. The network keeps its own t. Whatever runs on all T steps
runs on S of them, with the schedule and the model functions that `respace` returns.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.reverse import VARIANCES
from ddpm_jax.reverse import ModelFn
from ddpm_jax.reverse import Variance
from ddpm_jax.schedules import Schedule
from ddpm_jax.schedules import make_schedule


def respace(
    schedule: Schedule,
    num_steps: int,
    *,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    variance: Variance = "fixed_large",
) -> dict[str, Any]:
    """The keyword arguments of a chain of num_steps evenly spaced t, the last T-1.

    They are schedule, eps_fn or x0_fn, and variance. A variance that is "learned", or a
    function, is that of single steps: "fixed_small" takes its place on fewer than T.
    Call it outside of jit: the tables are made in float64.

    Raises:
      ValueError: unless 1 <= num_steps <= T.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> model = respace(schedule, 4, eps_fn=lambda params, x_t, t: x_t)
      >>> sorted(model), model["schedule"].num_timesteps
      (['eps_fn', 'schedule', 'variance'], 4)
    """
    total = schedule.num_timesteps
    if isinstance(num_steps, bool) or not isinstance(num_steps, int):
        raise ValueError(f"num_steps is {num_steps!r}; give a whole number")
    if not 1 <= num_steps <= total:
        raise ValueError(f"num_steps is {num_steps}; give 1..{total}")
    given = {"eps_fn": eps_fn, "x0_fn": x0_fn}
    model = {name: fn for name, fn in given.items() if fn is not None}
    if num_steps == total:
        return {**model, "schedule": schedule, "variance": variance}
    times = np.floor(np.linspace(total - 1, 0, num_steps)[::-1] + 0.5).astype(int)
    learned = variance == "learned"
    asked = {name: partial(_ask, fn, times, learned) for name, fn in model.items()}
    # Between beta~ and beta is a place in a longer step too.
    known = (*VARIANCES, "learned_range")
    fixed = variance if variance in known else "fixed_small"
    return {**asked, "schedule": subset(schedule, times), "variance": fixed}


def subset(schedule: Schedule, times: np.ndarray) -> Schedule:
    """The schedule of rising times [S], a subset of 0..T-1.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> part = subset(schedule, np.array([99, 999]))
      >>> bool(abs(part.alphas_cumprod[0] - schedule.alphas_cumprod[99]) < 1e-6)
      True
    """
    with np.errstate(divide="ignore"):  # a beta of 1 ends in noise
        log_alpha_bar = np.log1p(-np.asarray(schedule.betas, np.float64)).cumsum()
    return make_schedule(-np.expm1(np.diff(log_alpha_bar[times], prepend=0.0)))


def _ask(
    model: ModelFn,
    times: np.ndarray,
    learned: bool,
    params: object,
    x_t: jax.Array,
    t: jax.Array,
) -> jax.Array:
    """Asks a model at its own times, for its first C channels if it has 2C."""
    answer = model(params, x_t, jnp.asarray(times, jnp.int32)[t])
    return answer[..., : x_t.shape[-1]] if learned else answer
