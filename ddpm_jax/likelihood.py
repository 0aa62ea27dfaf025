r"""The variational bound of an image, in bits per dimension: Eq. 5 of Ho et al. (2020).

    -log p(x_0) <= L_T + sum_{t=1}^{T-1} L_t + L_0

L_T is the KL divergence of q(x_T | x_0) from N(0, I) and has no parameters; L_t that of
q(x_{t-1} | x_t, x_0) from the model's reverse step; L_0 the discretised decoder of
`decoder.py`. Here t counts as everywhere in this code, so that L_t belongs to the noisy
image x_t of t = 0..T-1, and the index of each term is the paper's.

Each expectation is taken over one draw of the noise or more, independent for each t.
What is drawn for an image depends on its key, the draw and t alone.
"""

from typing import NamedTuple
from typing import Unpack

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.decoder import DECODERS
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.diffusion import q_sample
from ddpm_jax.losses import mean_flat
from ddpm_jax.losses import vlb_term
from ddpm_jax.reverse import reverse_step
from ddpm_jax.schedules import Schedule


class LikelihoodTerms(NamedTuple):
    """The terms of the bound for B images and D draws of the noise."""

    prior: jax.Array  # [B]: L_T, bits/dim
    terms: jax.Array  # [B, D, T]: L_t, bits/dim; L_0 is the decoder's
    mse: jax.Array  # [B, D, T]: squared error of the x_0 that x_t predicts


def bits_per_dim(
    params: object,
    keys: jax.Array,
    x_0: jax.Array,
    *,
    schedule: Schedule,
    draws: int = 1,
    cdf: str = "exact",
    **model: Unpack[ModelOptions],
) -> LikelihoodTerms:
    """Every term of the bound, for each image and each draw: Eq. 5.

    keys is [B], or one key for images 0..B-1; x_0 is [B, ...], uint8 pixels scaled to
    [-1, 1]. The model's options are `ModelOptions`: clip_x0 clips the predicted x_0, as
    the paper's code does when it evaluates (and not when it trains), and one with
    self_condition is shown no guess of x_0, as no step came before. cdf is "exact", or
    "tanh" for that code's approximation.

    Raises:
      ValueError: if draws, cdf or the model do not fit.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> truth = lambda params, x_t, t: jnp.zeros_like(x_t)
      >>> got = bits_per_dim({}, jax.random.key(0), jnp.zeros((1, 8)), x0_fn=truth,
      ...                    schedule=make_schedule(linear_beta_schedule(10)),
      ...                    variance="fixed_small")
      >>> got.terms.shape, bool((got.terms[..., 1:] == 0).all())
      ((1, 1, 10), True)
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; give at least 1")
    if cdf not in DECODERS:
        raise ValueError(f"cdf is {cdf!r}; it must be one of {', '.join(DECODERS)}")
    keys = per_image.one_each(keys, x_0.shape[0])
    num_timesteps = schedule.num_timesteps

    def term(_: None, step: tuple[jax.Array, jax.Array]) -> tuple[None, jax.Array]:
        draw, t = step
        noise_keys = per_image.fold_in(per_image.fold_in(keys, draw), t)
        eps = per_image.normal(noise_keys, x_0.shape[1:])
        t = jnp.full(x_0.shape[:1], t)
        x_t = q_sample(schedule, x_0, t, eps)
        none = jnp.zeros_like(x_t)
        reverse = reverse_step(params, x_t, t, none, schedule=schedule, **model)
        bits = vlb_term(schedule, x_0, x_t, t, reverse, cdf)
        return None, jnp.stack([bits, mean_flat((reverse.x_0 - x_0) ** 2)])

    steps = jnp.divmod(jnp.arange(draws * num_timesteps), num_timesteps)
    _, rows = jax.lax.scan(term, None, steps)
    rows = rows.reshape(draws, num_timesteps, 2, -1)
    terms, mse = jnp.transpose(rows, (2, 3, 0, 1))
    return LikelihoodTerms(prior_bits(schedule, x_0), terms, mse)


def prior_bits(schedule: Schedule, x_0: jax.Array) -> jax.Array:
    """L_T [B] in bits/dim: KL(q(x_T | x_0) || N(0, I)), about 1e-5 for the paper.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> bits = prior_bits(make_schedule(linear_beta_schedule(1000)), jnp.ones((1, 8)))
      >>> f"{bits[0]:.2e}"
      '2.91e-05'
    """
    alpha_bar = schedule.alphas_cumprod[-1]
    # The mean is sqrt(alpha_bar) x_0, the variance 1 - alpha_bar.
    nats = 0.5 * (alpha_bar * mean_flat(x_0**2) - alpha_bar - jnp.log1p(-alpha_bar))
    return nats / jnp.log(2.0)
