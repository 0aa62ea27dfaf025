"""Going back in time: Sec. 4.2 and Appendix B of Lugmayr et al. (2022), RePaint.

A chain that takes in part of a picture at each step has no time to make the rest fit:
the next step down sees both parts for the first time. So the chain goes down some
steps, is noised up again by as many, and so on, a few times at each place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.denoiser import Level
from ddpm_jax.reverse import Posterior
from ddpm_jax.samplers.ancestral import posterior
from ddpm_jax.samplers.start import levels
from ddpm_jax.time_grids import TimeGrid


class Path(NamedTuple):
    """The M steps of a chain that travels, one for each call of the model."""

    step: np.ndarray  # int [M]: which of the S steps of the chain, 0 for the first
    returns: np.ndarray  # bool [M]: and is then noised up by a jump


class Travel(NamedTuple):
    """The rows [M] of the scan along a path."""

    level: Level  # at which the model is asked
    posterior: Posterior  # of the step
    end: jax.Array  # [M, 2], alpha and sigma where the step leads
    up: jax.Array  # [M, 2], the jump's: x_up = up[0] x + up[1] eps
    returns: jax.Array
    numbers: jax.Array  # [M, 3], of the draws: for the step, what is known, the jump


def time_travel(num_steps: int, resamples: int = 10, jump: int = 10) -> Path:
    """A path through a chain that takes stretches of jump steps resamples times each.

    With resamples = 1 it goes straight down. Places of return are as in the paper's
    code: where 0, jump, 2 jump, ... steps remain behind one more, below S - jump.

    Raises:
      ValueError: unless resamples and jump are at least 1, and a jump fits into S.

    Example:
      >>> path = time_travel(4, resamples=2, jump=2)
      >>> path.step.tolist(), path.returns.astype(int).tolist()
      ([0, 1, 2, 1, 2, 3], [0, 0, 1, 0, 0, 0])
    """
    for name, value in (("resamples", resamples), ("jump", jump)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; give a whole number of at least 1")
    if resamples > 1 and jump >= num_steps:
        raise ValueError(
            f"jump is {jump}; it must be less than the {num_steps} steps of the chain"
        )
    left = dict.fromkeys(range(0, num_steps - jump, jump), resamples - 1)
    t, steps, returns = num_steps - 1, [], []  # t as in the paper, 0 for the last step
    while t >= 0:
        steps.append(num_steps - 1 - t)
        t -= 1
        returns.append(left.get(t, 0) > 0)
        if returns[-1]:
            left[t] -= 1
            t += jump
    return Path(np.array(steps), np.array(returns))


def travel(grid: TimeGrid, path: Path, jump: int) -> Travel:
    """The rows of a path through the steps of a grid.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 4)
      >>> travel(grid, time_travel(4, resamples=2, jump=2), 2).level.t.tolist()
      [999, 666, 333, 666, 333, 0]
    """
    level, q = jax.tree.map(
        lambda table: table[path.step], (levels(grid), posterior(grid))
    )
    end = path.step + 1
    above = np.maximum(end - jump, 0)  # of no use where the path does not return
    log_ratio = grid.log_alpha_bar[above] - grid.log_alpha_bar[end]
    up = np.exp(0.5 * log_ratio), np.sqrt(-np.expm1(log_ratio))
    return Travel(
        level,
        q,
        end=jnp.stack([grid.alpha[end], grid.sigma[end]], axis=1),
        up=jnp.stack(up, axis=1),
        returns=jnp.asarray(path.returns),
        numbers=jnp.asarray(draw_numbers(grid, path)),
    )


def draw_numbers(grid: TimeGrid, path: Path) -> np.ndarray:
    """The numbers of three draws for each step of a path, all different: uint32 [M, 3].

    On the first visit of a step the first is the grid's own, so that a chain that does
    not return is the ancestral one; T is left to the start.
    """
    own = grid.noise_numbers[path.step]
    free = max(int(own.max()), grid.num_timesteps) + 1
    numbers = free + np.arange(3 * own.size).reshape(-1, 3)
    _, first_visits = np.unique(path.step, return_index=True)
    numbers[first_visits, 0] = own[first_visits]
    return numbers.astype(np.uint32)
