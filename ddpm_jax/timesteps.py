"""Which t the images of a training step get: uniform, in pairs, or by their loss.

What an image gets is a function of (key of the step, number of the image) and, by loss,
of a history that all devices share: never of the device or the part of the batch that
the image is in. A function here is (key, index [B], T, history) -> `Drawn`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image

# A train step takes the parts 0, 1 and 2 of an image's key for flips, losses, dropout.
PART = 3

UNIFORM_SHARE = 0.001  # of the draws that do not look at the losses: no t dies out


class History(NamedTuple):
    """The last losses at each t, which importance sampling draws by."""

    losses: jax.Array  # float32 [T, 10], in the order of a ring
    counts: jax.Array  # int32 [T], how many losses there have been


class Drawn(NamedTuple):
    """t [B] int in 0..T-1, and the weight [B] of each loss in the mean."""

    t: jax.Array
    weight: jax.Array


DrawT = Callable[..., Drawn]
"""(key of the step, index [B], num_timesteps, history) -> Drawn."""


def antithetic_t(
    key: jax.Array, index: jax.Array, num_timesteps: int, history: History | None = None
) -> Drawn:
    """Draws t for images 2i and 2i + 1 together: t uniform, and T - 1 - t.

    Each is uniform, and a pair sees a small t where the other is large: the mean loss
    of a batch varies less. history is not used.

    Example:
      >>> t, weight = antithetic_t(jax.random.key(0), jnp.arange(4), 1000)
      >>> (t[0::2] + t[1::2]).tolist(), weight.tolist()
      ([999, 999], [1.0, 1.0, 1.0, 1.0])
    """
    odd = index % 2
    keys = per_image.fold_in_each(key, index - odd)
    t = per_image.randint(per_image.fold_in(keys, PART), num_timesteps)
    return Drawn(jnp.where(odd == 1, num_timesteps - 1 - t, t), jnp.ones(t.shape))


def importance_t(
    key: jax.Array, index: jax.Array, num_timesteps: int, history: History | None
) -> Drawn:
    """Draws t by the losses of the past: Sec. 3.3 of Nichol and Dhariwal (2021).

    The weight 1 / (T p_t) leaves the expected loss what it is under uniform t.

    Raises:
      ValueError: if there is no history.

    Example:
      >>> losses = jnp.array([[0.0, 0.0], [9.0, 9.0]])  # no error at t = 0
      >>> history = History(losses, jnp.array([2, 2]))
      >>> t, weight = importance_t(jax.random.key(0), jnp.arange(4), 2, history)
      >>> t.tolist(), weight.round(3).tolist()
      ([1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5])
    """
    if history is None:
        raise ValueError("importance sampling draws by a history; make one first")
    p = probabilities(history)
    keys = per_image.fold_in(per_image.fold_in_each(key, index), PART)
    # By Gumbel's trick: a float32 sum of thousands of p would round the small ones.
    t = jax.vmap(jax.random.categorical, (0, None))(keys, jnp.log(p))
    return Drawn(t, 1 / (num_timesteps * p[t]))


T_SAMPLINGS: dict[str, DrawT | None] = {
    "uniform": None,  # a loss draws t itself, from the key of the image
    "antithetic": antithetic_t,
    "importance": importance_t,
}


def empty_history(num_timesteps: int, size: int = 10) -> History:
    """A history without losses: Nichol and Dhariwal (2021) keep 10 at each t.

    Example:
      >>> history = empty_history(1000)
      >>> history.losses.shape, int(history.counts.sum())
      ((1000, 10), 0)
    """
    losses = jnp.zeros((num_timesteps, size), jnp.float32)
    return History(losses, jnp.zeros(num_timesteps, jnp.int32))


def probabilities(history: History) -> jax.Array:
    """p_t [T]: as sqrt(E[L_t^2]), Eq. 18 of Nichol and Dhariwal (2021).

    Uniform until every t has its 10 losses.

    Example:
      >>> history = History(jnp.array([[1.0, 1.0], [3.0, 3.0]]), jnp.array([2, 2]))
      >>> [f"{p:.3f}" for p in probabilities(history)]
      ['0.250', '0.750']
    """
    num_timesteps, size = history.losses.shape
    root = jnp.sqrt(jnp.square(history.losses).mean(axis=1))
    full = (history.counts >= size).all() & (root.sum() > 0)
    by_loss = root / jnp.where(full, root.sum(), 1)
    by_loss = (1 - UNIFORM_SHARE) * by_loss + UNIFORM_SHARE / num_timesteps
    return jnp.where(full, by_loss, 1 / num_timesteps)


def remember(history: History, t: jax.Array, losses: jax.Array) -> History:
    """The history after the losses [N] at t [N], the oldest at each t forgotten.

    Example:
      >>> history = empty_history(2, size=2)
      >>> t, losses = jnp.array([0, 1, 0, 0]), jnp.array([1.0, 2.0, 3.0, 4.0])
      >>> history = remember(history, t, losses)
      >>> history.losses.tolist(), history.counts.tolist()
      ([[4.0, 3.0], [2.0, 0.0]], [3, 1])
    """
    num_timesteps, size = history.losses.shape
    same = t[:, None] == t[None, :]
    earlier = jnp.tril(same, -1).sum(axis=1)
    later = jnp.triu(same, 1).sum(axis=1)
    slot = (history.counts[t] + earlier) % size
    # One call may bring more losses of a t than are kept: the last ones stay.
    row = jnp.where(later < size, t, num_timesteps)
    return History(
        history.losses.at[row, slot].set(losses, mode="drop"),
        history.counts.at[t].add(1),
    )
