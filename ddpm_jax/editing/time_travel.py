"""Going back in time: Sec. 4.2 and Appendix B of Lugmayr et al. (2022), RePaint.

A chain that takes in part of a picture at each step has no time to make the rest fit:
the next step down sees both parts for the first time. So the chain goes down some
steps, is noised up again by as many, and so on, a few times at each place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.schedules import Schedule


class Path(NamedTuple):
    """The M steps of a chain that travels, one for each call of the model."""

    t: np.ndarray  # int32 [M]: the step goes from t to t - 1
    returns: np.ndarray  # bool [M]: and is then noised up by a jump
    number: np.ndarray  # int32 [M], all different; t on the first visit of t


def time_travel(num_timesteps: int, resamples: int = 10, jump: int = 10) -> Path:
    """A path from T-1 to 0 that takes stretches of jump steps resamples times each.

    With resamples = 1 it goes straight down. Places of return are as in the paper's
    code: t = 0, jump, 2 jump, ... below T - jump.

    Raises:
      ValueError: unless resamples and jump are at least 1, and a jump fits into T.

    Example:
      >>> path = time_travel(4, resamples=2, jump=2)
      >>> path.t.tolist(), path.returns.astype(int).tolist()
      ([3, 2, 1, 2, 1, 0], [0, 0, 1, 0, 0, 0])
    """
    for name, value in (("resamples", resamples), ("jump", jump)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; give a whole number of at least 1")
    if resamples > 1 and jump >= num_timesteps:
        raise ValueError(
            f"jump is {jump}; it must be less than the {num_timesteps} steps of the "
            "chain"
        )
    left = dict.fromkeys(range(0, num_timesteps - jump, jump), resamples - 1)
    t, steps, returns = num_timesteps - 1, [], []
    while t >= 0:
        steps.append(t)
        t -= 1
        returns.append(left.get(t, 0) > 0)
        if returns[-1]:
            left[t] -= 1
            t += jump
    return Path(np.array(steps, np.int32), np.array(returns), _numbers(steps))


def _numbers(steps: list[int]) -> np.ndarray:
    """Numbers visit v of t as t + (T + 1) v, so that T itself is free for the start."""
    visits = dict.fromkeys(range(max(steps) + 1), 0)
    numbers = []
    for t in steps:
        numbers.append(t + (len(visits) + 1) * visits[t])
        visits[t] += 1
    return np.array(numbers, np.int32)


def noise_up(
    schedule: Schedule, x_t: jax.Array, t: jax.Array, jump: int, eps: jax.Array
) -> jax.Array:
    """Draws x_{t+jump} given x_t [B, ...] and unit noise: Eq. 2 of Ho et al. (2020).

    t is one int for all images, -1 for x_0. The jump's steps are composed to one.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> noise_up(schedule, jnp.ones(1), -1, 1000, jnp.zeros(1)).round(4).tolist()
      [0.006399999838322401]
    """
    betas = jax.lax.dynamic_slice(schedule.betas, (t + 1,), (jump,))
    kept = jnp.cumprod(1 - betas[::-1])  # by the last step, the last two, ...
    # A sum of what is small keeps its digits; one minus a product would lose them.
    variance = (betas[::-1] * jnp.append(1.0, kept[:-1])).sum()
    return jnp.sqrt(kept[-1]) * x_t + jnp.sqrt(variance) * eps
