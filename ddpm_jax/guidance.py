"""Guidance: an eps_fn whose images are more of a class, made from an eps_fn.

Both kinds follow, at each t, the score of p(x_t) p(y | x_t)^scale in place of that of
p(x_t). So scale 0 is the model without a condition and scale 1 the conditional model;
more than 1 exaggerates the class. (Ho & Salimans write w = scale - 1.)

The functions here take the arguments of an eps_fn first. Bind the others once, and give
the result to a sampler:

    eps_fn = partial(classifier_free_eps, eps_fn=network, labels=labels,
                     null_label=10, scale=2.0)
"""

import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelFn
from ddpm_jax.reverse import level_at
from ddpm_jax.schedules import Schedule

LABEL_STREAM = zlib.crc32(b"label")  # none of those of the network's dropout

LabelledFn = Callable[..., jax.Array]
"""(params, x_t [B, ...], t [B], *, labels [B]) -> [B, ...]: an eps_fn of labels."""


def drop_labels(
    keys: jax.Array, labels: jax.Array, null_label: int, share: float
) -> jax.Array:
    """Puts null_label in place of a share of labels [B]: Alg. 1 of Ho & Salimans.

    So one network learns both eps(x_t, label) and eps(x_t). Keys are [B].

    Example:
      >>> keys = per_image.image_keys(jax.random.key(0), 8)
      >>> drop_labels(keys, jnp.arange(8), 10, 0.5).tolist()
      [10, 1, 10, 3, 10, 5, 10, 10]
    """
    dropped = per_image.bernoulli(per_image.fold_in(keys, LABEL_STREAM), share)
    return jnp.where(dropped, null_label, labels)


def classifier_free_eps(
    params: object,
    x_t: jax.Array,
    t: jax.Array,
    *,
    eps_fn: LabelledFn,
    labels: jax.Array,
    null_label: int,
    scale: float | jax.Array,
) -> jax.Array:
    """eps(null) + scale (eps(label) - eps(null)): Eq. 6 of Ho & Salimans (2022).

    labels is int [B]; null_label is what the model was trained to take for no label. It
    is asked once, on a batch of 2B. Of the 2C channels of a model that also learns the
    variance, the second half is that of the label. Equally, x0_fn in, x0_fn out.

    Raises:
      ValueError: if labels is not [B].

    Example:
      >>> def eps_fn(params, x_t, t, labels):
      ...     return jnp.broadcast_to(labels[:, None] * 1.0, x_t.shape)
      >>> x_t, t = jnp.zeros((2, 1)), jnp.array([5, 5])
      >>> guided = dict(eps_fn=eps_fn, labels=jnp.array([1, 3]), null_label=0)
      >>> classifier_free_eps({}, x_t, t, scale=2.0, **guided).tolist()
      [[2.0], [6.0]]
    """
    if labels.shape != t.shape:
        raise ValueError(
            f"labels has shape {labels.shape}; give one for each of the {t.shape[0]} "
            "images"
        )
    both = jnp.concatenate([labels, jnp.full_like(labels, null_label)])
    twice_x, twice_t = jnp.concatenate([x_t, x_t]), jnp.concatenate([t, t])
    label, null = jnp.split(eps_fn(params, twice_x, twice_t, labels=both), 2)
    channels = min(x_t.shape[-1], label.shape[-1])
    change = label[..., :channels] - null[..., :channels]
    guided = null[..., :channels] + scale * change
    return jnp.concatenate([guided, label[..., channels:]], axis=-1)


def classifier_eps(
    params: object,
    x_t: jax.Array,
    t: jax.Array,
    *,
    eps_fn: ModelFn,
    log_prob_fn: ModelFn,
    schedule: Schedule,
    scale: float | jax.Array,
) -> jax.Array:
    """eps - scale sigma_t grad log p(y | x_t): Algorithm 2 of Dhariwal & Nichol (2021).

    params goes to both functions. log_prob_fn(params, x_t, t) returns log p(y | x_t)
    [B], of the y that each image shall have; that of an image must not depend on its
    batch. Channels behind the first C stay as they are: in the answer those of a
    learned variance, and in x_t the guess of a self-conditioned network.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> eps_fn = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> log_prob_fn = lambda params, x_t, t: x_t.sum(axis=1)
      >>> classifier_eps(
      ...     {}, jnp.ones((1, 2)), jnp.array([999]), eps_fn=eps_fn,
      ...     log_prob_fn=log_prob_fn, schedule=schedule, scale=2.0).round(3).tolist()
      [[-2.0, -2.0]]
    """
    answer = eps_fn(params, x_t, t)
    channels = min(x_t.shape[-1], answer.shape[-1])
    score = _class_score(log_prob_fn, params, x_t[..., :channels], t)
    sigma = level_near(schedule, t, x_t).sigma
    eps = answer[..., :channels] - scale * sigma * score
    return jnp.concatenate([eps, answer[..., channels:]], axis=-1)


def classifier_x0(
    params: object,
    x_t: jax.Array,
    t: jax.Array,
    *,
    x0_fn: ModelFn,
    log_prob_fn: ModelFn,
    schedule: Schedule,
    scale: float | jax.Array,
) -> jax.Array:
    """`classifier_eps` of a model that predicts x_0: x_0 + scale sigma^2 / alpha score.

    Where alpha_bar_t = 0 nothing follows from a score, and the answer means nothing.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> x0_fn = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> log_prob_fn = lambda params, x_t, t: x_t.sum(axis=1)
      >>> x_0 = classifier_x0(
      ...     {}, jnp.ones((1, 2)), jnp.array([0]), x0_fn=x0_fn,
      ...     log_prob_fn=log_prob_fn, schedule=schedule, scale=2.0)
      >>> print(x_0.round(5))
      [[0.0002 0.0002]]
    """
    answer = x0_fn(params, x_t, t)
    channels = min(x_t.shape[-1], answer.shape[-1])
    score = _class_score(log_prob_fn, params, x_t[..., :channels], t)
    level = level_near(schedule, t, x_t)
    # alpha is not sqrt(1 - sigma^2) here: in float32 that is 0 well before it is.
    x_0 = answer[..., :channels] + scale * level.sigma**2 / level.alpha * score
    return jnp.concatenate([x_0, answer[..., channels:]], axis=-1)


def _class_score(
    log_prob_fn: ModelFn, params: object, x_t: jax.Array, t: jax.Array
) -> jax.Array:
    """The gradient [B, ...] of log p(y | x_t) by x_t."""
    score: jax.Array = jax.grad(lambda x: log_prob_fn(params, x, t).sum())(x_t)
    return score


def level_near(schedule: Schedule, t: jax.Array, x: jax.Array) -> Level:
    """`level_at` for any t [B] in 0..T-1; between whole t as time grids have it.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> between = level_near(schedule, jnp.array([400.5]), jnp.zeros(1))
      >>> f"{between.sigma[0]:.4f}"
      '0.8984'
    """
    if jnp.issubdtype(t.dtype, jnp.integer):
        return level_at(schedule, t, x)
    # Near t = 0 log alpha_bar has its digits in sigma, and near T - 1 in alpha.
    sigma = schedule.sqrt_one_minus_alphas_cumprod
    from_alpha = 2 * jnp.log(jnp.maximum(schedule.sqrt_alphas_cumprod, 1e-30))
    table = jnp.where(sigma < 0.7, jnp.log1p(-(sigma**2)), from_alpha)
    log_alpha_bar = jnp.interp(t, jnp.arange(schedule.num_timesteps) * 1.0, table)
    log_alpha_bar = log_alpha_bar.reshape((-1,) + (1,) * (x.ndim - 1))
    alpha, sigma = jnp.exp(0.5 * log_alpha_bar), jnp.sqrt(-jnp.expm1(log_alpha_bar))
    return Level(t, alpha, sigma)
