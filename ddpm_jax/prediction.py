"""What a network predicts, and how the process sees it: Table 2 of Ho et al. (2020).

A network is a function `(params, x_t, t) -> [B, H, W, C]`, or 2C channels where it also
learns the variance. Its output means noise, x_0, the posterior mean or the velocity,
which this file turns, once, into what the samplers and the bound take.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import LEARNED
from ddpm_jax.denoiser import ModelFn
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.denoiser import check_model
from ddpm_jax.denoiser import x0_and_eps
from ddpm_jax.diffusion import predict_x0_from_mean
from ddpm_jax.diffusion import predict_x0_from_v
from ddpm_jax.loss_weights import LOSS_WEIGHTS
from ddpm_jax.loss_weights import loss_weight
from ddpm_jax.losses import mean_loss
from ddpm_jax.losses import noisy
from ddpm_jax.losses import simple_loss
from ddpm_jax.losses import uniform_t
from ddpm_jax.losses import v_loss
from ddpm_jax.losses import vlb_loss
from ddpm_jax.losses import x0_loss
from ddpm_jax.reverse import VARIANCES
from ddpm_jax.reverse import level_at
from ddpm_jax.schedules import Schedule

PREDICTIONS: dict[str, tuple[Callable[..., jax.Array], str]] = {
    "eps": (simple_loss, "eps_fn"),
    "x_0": (x0_loss, "x0_fn"),
    "posterior_mean": (mean_loss, "mean_fn"),
    "v": (v_loss, "v_fn"),
}
"""The squared error of each kind of output, and the name of the network in it."""

TO_X0 = {"posterior_mean": predict_x0_from_mean, "v": predict_x0_from_v}
"""(schedule, x_t, t, output) -> x_0, for outputs that are neither eps nor x_0."""

LOSSES = ("simple", "vlb", "hybrid")

GUESS_STREAM = 2  # `noisy` folds in 0 and 1

VLB_SHARE = 0.001  # lambda of Nichol and Dhariwal (2021), Sec. 3.1


def check_objective(
    prediction: str, loss: str, variance: str, weight: str = "none"
) -> None:
    """Raises ValueError unless the four names are known and go together.

    Example:
      >>> check_objective("v", "simple", "fixed_large", "min_snr")
      >>> check_objective("eps", "vlb", "learned")
    """
    allowed = (
        ("prediction", prediction, tuple(PREDICTIONS)),
        ("loss", loss, LOSSES),
        ("variance", variance, (*VARIANCES, *LEARNED)),
        ("loss_weight", weight, tuple(LOSS_WEIGHTS)),
    )
    for name, got, names in allowed:
        if got not in names:
            raise ValueError(f"{name} is {got!r}; it must be one of {', '.join(names)}")
    if variance in LEARNED and loss == "simple":
        raise ValueError(
            f"variance {variance!r} can't go with loss 'simple', which sends the "
            "variance no gradient; use loss 'vlb' or 'hybrid', or variance "
            "'fixed_large' or 'fixed_small'"
        )
    if variance not in LEARNED and loss == "hybrid":
        raise ValueError(
            f"loss 'hybrid' can't go with variance {variance!r}, as its bound trains "
            "the variance alone; use variance 'learned_range', or loss 'simple'"
        )
    if weight != "none" and loss == "vlb":
        raise ValueError(
            f"loss_weight {weight!r} can't go with loss 'vlb', which has the weights "
            "of the bound; use loss_weight 'none', or loss 'simple' or 'hybrid'"
        )


def model_functions(
    network: ModelFn,
    *,
    schedule: Schedule,
    prediction: str,
    variance: str,
    self_condition: bool = False,
) -> ModelOptions:
    """The keyword arguments by which samplers and the bound see a network.

    That is eps_fn or x0_fn, and variance. Where it is learned the function has 2C
    outputs, the variance's last, which reverse_step divides. The input of a
    self-conditioned network has 2C channels, of which the first C are x_t.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> sorted(model_functions(
      ...     lambda params, x_t, t: x_t, prediction="x_0", variance="fixed_small",
      ...     schedule=make_schedule(linear_beta_schedule(10))))
      ['variance', 'x0_fn']
    """
    loss = "vlb" if variance in LEARNED else "simple"
    check_objective(prediction, loss, variance)
    if prediction == "eps":
        return {"eps_fn": network, "variance": variance}
    if prediction == "x_0":
        return {"x0_fn": network, "variance": variance}

    def x0_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        channels, answer = x_t.shape[-1], network(params, x_t, t)
        if self_condition:
            channels //= 2
            x_t = x_t[..., :channels]
        x_0 = TO_X0[prediction](schedule, x_t, t, answer[..., :channels])
        return jnp.concatenate([x_0, answer[..., channels:]], axis=-1)

    return {"x0_fn": x0_fn, "variance": variance}


def self_conditioned(
    network: ModelFn,
    keys: jax.Array,
    *,
    schedule: Schedule,
    prediction: str,
    clip_x0: bool = True,
) -> ModelFn:
    """A network of C channels that looks, for half of the images, at its own guess.

    network takes 2C channels, x_t and a guess of x_0. The guess is what it says where
    it has none, without a gradient; the other half of the images get zeros for theirs.
    Which half an image is in depends on its key in keys [B]. Sec. 3.2 of Chen et al.
    (2022).

    Raises:
      ValueError: if eps is predicted where the schedule ends in pure noise.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> def network(params, x_t_and_guess, t):  # one more than its guess
      ...     return 1 + x_t_and_guess[..., 1:]
      >>> twice = self_conditioned(
      ...     network, per_image.image_keys(jax.random.key(0), 4), prediction="x_0",
      ...     schedule=make_schedule(linear_beta_schedule(1000)))
      >>> answer = twice({}, jnp.zeros((4, 1)), jnp.zeros(4, jnp.int32))
      >>> sorted(set(answer.ravel().tolist()))
      [1.0, 2.0]
    """
    model: ModelOptions = {
        **model_functions(
            network,
            schedule=schedule,
            prediction=prediction,
            variance="fixed_large",
            self_condition=True,
        ),
        "clip_x0": clip_x0,
        "self_condition": True,
    }
    check_model(schedule.ends_in_noise, **model)
    shown = per_image.bernoulli(per_image.fold_in(keys, GUESS_STREAM), 0.5)

    def twice(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
        none = jnp.zeros_like(x_t)
        x_0 = x0_and_eps(params, x_t, level_at(schedule, t, x_t), none, **model).x_0
        mask = shown.reshape((-1,) + (1,) * (x_t.ndim - 1))
        guess = jnp.where(mask, jax.lax.stop_gradient(x_0), 0.0)
        return network(params, jnp.concatenate([x_t, guess], axis=-1), t)

    return twice


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
    weight: str = "none",
    t: jax.Array | None = None,
) -> jax.Array:
    """The objective [B] of one row of Table 2, or one of those that came after.

    keys is [B], or one key; x_0 is [B, H, W, C] in [-1, 1]; t is [B] int in 0..T-1,
    drawn uniformly from keys if None.

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
    check_objective(prediction, loss, variance, weight)
    keys = per_image.one_each(keys, x_0.shape[0])
    t = uniform_t(keys, schedule) if t is None else t

    def squared(network: ModelFn) -> jax.Array:
        loss_of, name = PREDICTIONS[prediction]
        error = loss_of(params, keys, x_0, schedule=schedule, t=t, **{name: network})
        return loss_weight(schedule, t, prediction=prediction, name=weight) * error

    def bound(network: ModelFn) -> jax.Array:
        model = model_functions(
            network, schedule=schedule, prediction=prediction, variance=variance
        )
        return vlb_loss(params, keys, x_0, schedule=schedule, t=t, **model)

    if loss == "simple":
        return squared(network)
    if loss == "vlb":
        return bound(network)
    # What both losses draw again from the same keys; compiled, it is drawn once.
    _, _, x_t = noisy(keys, x_0, schedule, t)
    predicted, with_variance = apart(network(params, x_t, t))
    # Eq. 16 of Nichol and Dhariwal; the bound is T times its term at t, in bits/dim.
    share = VLB_SHARE * schedule.num_timesteps
    return squared(predicted) + share * bound(with_variance)


def apart(answer: jax.Array) -> tuple[ModelFn, ModelFn]:
    """One answer of 2C channels as two networks: for squared error and for bound.

    The second sends the variance a gradient and the prediction none: Sec. 3.1 of Nichol
    and Dhariwal (2021). The network itself runs once.

    Example:
      >>> import jax.numpy as jnp
      >>> predicted, with_variance = apart(jnp.arange(4.0).reshape(1, 4))
      >>> predicted({}, None, None).tolist(), with_variance({}, None, None).tolist()
      ([[0.0, 1.0]], [[0.0, 1.0, 2.0, 3.0]])
    """
    first, rest = jnp.split(answer, 2, axis=-1)
    frozen = jnp.concatenate([jax.lax.stop_gradient(first), rest], axis=-1)
    return lambda *_: first, lambda *_: frozen
