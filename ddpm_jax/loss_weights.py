"""How much the squared error at each t counts: weights [B] of a training objective.

A weight is named by what it multiplies the squared error of x_0 with, a function of
SNR = alpha_bar / (1 - alpha_bar). A network that predicts something else has another
error, larger by a factor that depends on t alone, by which its weight is divided: so
the same name is the same objective, whatever the network predicts.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ddpm_jax.schedules import Schedule


def signal_to_noise(schedule: Schedule, t: jax.Array) -> jax.Array:
    """SNR [B] at t [B]: alpha_bar / (1 - alpha_bar).

    Example:
      >>> from ddpm_jax.schedules import make_schedule
      >>> print(signal_to_noise(make_schedule([0.1, 0.5]), jnp.array([0, 1])).round(4))
      [9.     0.8182]
    """
    signal = schedule.sqrt_alphas_cumprod[t]
    return (signal / schedule.sqrt_one_minus_alphas_cumprod[t]) ** 2


def min_snr(schedule: Schedule, t: jax.Array, gamma: float = 5.0) -> jax.Array:
    """min(SNR, gamma): min-SNR-gamma of Hang et al. (2023).

    Example:
      >>> from ddpm_jax.schedules import make_schedule
      >>> schedule = make_schedule([0.1, 0.9])  # SNR 9 and 0.0989
      >>> print(min_snr(schedule, jnp.array([0, 1])).round(4))
      [5.     0.0989]
    """
    return jnp.minimum(signal_to_noise(schedule, t), gamma)


def p2(
    schedule: Schedule, t: jax.Array, k: float = 1.0, gamma: float = 1.0
) -> jax.Array:
    """SNR / (k + SNR)^gamma: P2 of Choi et al. (2022), for the error of x_0.

    For that of eps it is 1 / (k + SNR)^gamma, which they write.

    Example:
      >>> from ddpm_jax.schedules import make_schedule
      >>> print(p2(make_schedule([0.1, 0.5]), jnp.array([0, 1])).round(4))  # alpha_bar
      [0.9  0.45]
    """
    snr = signal_to_noise(schedule, t)
    return snr / (k + snr) ** gamma


LOSS_WEIGHTS: dict[str, Callable[[Schedule, jax.Array], jax.Array] | None] = {
    "none": None,  # whatever the network predicts counts the same at every t
    "min_snr": min_snr,
    "p2": p2,
}

ERRORS: dict[str, Callable[[Schedule, jax.Array], jax.Array]] = {
    "eps": signal_to_noise,
    "x_0": lambda schedule, t: jnp.ones(t.shape),
    "posterior_mean": lambda schedule, t: schedule.posterior_mean_x_0[t] ** 2,
    "v": lambda schedule, t: 1 / schedule.sqrt_one_minus_alphas_cumprod[t] ** 2,
}
"""Squared error of each prediction, where that of x_0 is 1: v has SNR + 1."""


def loss_weight(
    schedule: Schedule, t: jax.Array, *, prediction: str, name: str
) -> jax.Array:
    """What the squared error of a prediction is multiplied with: [B].

    Example:
      >>> from ddpm_jax.schedules import make_schedule
      >>> schedule, t = make_schedule([0.1, 0.9]), jnp.array([0])  # SNR 9
      >>> for prediction in ("x_0", "eps", "v"):
      ...     print(loss_weight(schedule, t, prediction=prediction, name="min_snr"))
      [5.]
      [0.5555556]
      [0.5]
    """
    weight = LOSS_WEIGHTS[name]
    if weight is None:
        return jnp.ones(t.shape)
    return weight(schedule, t) / ERRORS[prediction](schedule, t)
