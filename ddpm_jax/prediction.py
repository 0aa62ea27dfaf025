"""What a network predicts, and how the process sees it: Table 2 of Ho et al. (2020).

A network is a function `(params, x_t, t) -> [B, H, W, C]`, or 2C channels where it also
learns the variance. Its output means noise, x_0 or the posterior mean, which this file
turns, once, into what the samplers and the bound take.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ddpm_jax.diffusion import predict_x0_from_mean
from ddpm_jax.losses import mean_loss
from ddpm_jax.losses import simple_loss
from ddpm_jax.losses import vlb_loss
from ddpm_jax.losses import x0_loss
from ddpm_jax.reverse import VARIANCES
from ddpm_jax.reverse import ModelFn
from ddpm_jax.schedules import Schedule

PREDICTIONS: dict[str, tuple[Callable[..., jax.Array], str]] = {
    "eps": (simple_loss, "eps_fn"),
    "x_0": (x0_loss, "x0_fn"),
    "posterior_mean": (mean_loss, "mean_fn"),
}
"""The squared error of each kind of output, and the name of the network in it."""

LOSSES = ("simple", "vlb")


def check_objective(prediction: str, loss: str, variance: str) -> None:
    """Raises ValueError unless the three names are known and go together."""
    allowed = (
        ("prediction", prediction, tuple(PREDICTIONS)),
        ("loss", loss, LOSSES),
        ("variance", variance, (*VARIANCES, "learned")),
    )
    for name, got, names in allowed:
        if got not in names:
            raise ValueError(f"{name} is {got!r}; it must be one of {', '.join(names)}")
    if variance == "learned" and loss == "simple":
        raise ValueError(
            "variance 'learned' can't go with loss 'simple', which sends the variance "
            "no gradient; use loss 'vlb', or variance 'fixed_large' or 'fixed_small'"
        )


def model_functions(
    network: ModelFn, *, schedule: Schedule, prediction: str, variance: str
) -> dict[str, Any]:
    """The keyword arguments by which samplers and the bound see a network.

    That is eps_fn or x0_fn, and variance. With "learned" the function has 2C outputs,
    the log variance last, which reverse_step divides.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> sorted(model_functions(
      ...     lambda params, x_t, t: x_t, prediction="x_0", variance="fixed_small",
      ...     schedule=make_schedule(linear_beta_schedule(10))))
      ['variance', 'x0_fn']
    """

    check_objective(prediction, "vlb", variance)

    def x_0_of_mean(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        channels, answer = x_t.shape[-1], network(params, x_t, t)
        x_0 = predict_x0_from_mean(schedule, x_t, t, answer[..., :channels])
        return jnp.concatenate([x_0, answer[..., channels:]], axis=-1)

    model: dict[str, dict[str, ModelFn]] = {
        "eps": {"eps_fn": network},
        "x_0": {"x0_fn": network},
        "posterior_mean": {"x0_fn": x_0_of_mean},
    }
    return {**model[prediction], "variance": variance}


def training_loss(
    params: object,
    keys: jax.Array,
    x_0: jax.Array,
    *,
    network: ModelFn,
    schedule: Schedule,
    prediction: str = "eps",
    loss: str = "simple",
    variance: str = "fixed_large",
) -> jax.Array:
    """The objective [B] of one row of Table 2.

    keys is [B], or one key; x_0 is [B, H, W, C] in [-1, 1].

    Raises:
      ValueError: as check_objective.

    Example:
      >>> import jax.numpy as jnp
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> training_loss(
      ...     {}, jax.random.key(0), jnp.ones((2, 4, 4, 1)), prediction="x_0",
      ...     network=lambda params, x_t, t: jnp.zeros_like(x_t),
      ...     schedule=make_schedule(linear_beta_schedule(10))).tolist()
      [1.0, 1.0]
    """
    check_objective(prediction, loss, variance)
    if loss == "vlb":
        model = model_functions(
            network, schedule=schedule, prediction=prediction, variance=variance
        )
        return vlb_loss(params, keys, x_0, schedule=schedule, **model)
    squared_error, name = PREDICTIONS[prediction]
    return squared_error(params, keys, x_0, schedule=schedule, **{name: network})
