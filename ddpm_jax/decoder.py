"""The probability of a pixel: the discretised decoder, Eq. 13 of Ho et al. (2020).

A normal in [-1, 1] becomes a distribution of v in 0..255 by its mass over the bin of
width 2/255 around v / 127.5 - 1; the two outer bins reach to infinity. That mass is a
difference of the normal CDF at the two edges. "exact" takes it in the log domain, where
float32 keeps the tails; "tanh" is what the paper's code does, with a CDF that is off by
up to 3e-4, so that beyond two or three standard deviations its logarithm means little.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr

HALF_BIN = 1 / 255
BORDER = 0.999  # beyond it a pixel is black, or white

# Up to here a density varies over a bin as its exponential does: to 2e-5 of the mass.
NARROW = 0.02

FLOOR = 1e-12  # of the probabilities that the paper's code takes logarithms of


def exact_log_likelihood(
    x_0: jax.Array, mean: jax.Array, inverse_std: jax.Array
) -> jax.Array:
    """Log mass, in nats, of each pixel's bin; exact far into the tails in float32.

    Example:
      >>> grey, one = jnp.zeros(1), jnp.ones(1)
      >>> f"{exact_log_likelihood(grey, grey, one)[0]:.3f}"
      '-5.767'
    """
    # Upper tail to lower tail, where log CDFs keep their digits: P[a, b] = P[-b, -a].
    centred = jnp.abs(x_0 - mean)
    sign = jnp.where(x_0 >= mean, -1.0, 1.0)
    upper = log_ndtr((-centred + HALF_BIN) * inverse_std)
    lower = log_ndtr((-centred - HALF_BIN) * inverse_std)
    # The bin at the border -1 has no left edge, that at 1 no right one.
    black, white = x_0 < -BORDER, x_0 > BORDER
    open_towards_tail = (black & (sign > 0)) | (white & (sign < 0))
    open_towards_mean = (black & (sign < 0)) | (white & (sign > 0))
    inner = upper + jnp.log(-jnp.expm1(jnp.minimum(lower - upper, -1e-7)))
    width = 2 * HALF_BIN * inverse_std
    # Where a bin is narrow the two CDFs agree in most of their digits.
    inner = jnp.where(width > NARROW, inner, _narrow(centred * inverse_std, width))
    beyond = log_ndtr((centred + HALF_BIN) * inverse_std)
    return jnp.where(
        open_towards_tail, upper, jnp.where(open_towards_mean, beyond, inner)
    )


def _narrow(z: jax.Array, width: jax.Array) -> jax.Array:
    """Log mass of a narrow bin at z >= 0: its density, times sinh(a) / a of its slope.

    The integral of exp(-z u - u^2 / 2) over -width / 2 < u < width / 2, without u^2.
    """
    a = jnp.maximum(z * width / 2, 1e-4)
    log_mean = a + jnp.log(-jnp.expm1(-2 * a)) - jnp.log(2 * a)
    return -0.5 * z**2 - 0.5 * jnp.log(2 * jnp.pi) + jnp.log(width) + log_mean


def tanh_log_likelihood(
    x_0: jax.Array, mean: jax.Array, inverse_std: jax.Array
) -> jax.Array:
    """The same with the CDF as the paper's code has it, and with its floor of 1e-12.

    Example:
      >>> grey, one = jnp.zeros(1), jnp.ones(1)
      >>> f"{tanh_log_likelihood(grey, grey, one)[0]:.3f}"
      '-5.767'
    """
    below = _tanh_cdf((x_0 - mean - HALF_BIN) * inverse_std)
    above = _tanh_cdf((x_0 - mean + HALF_BIN) * inverse_std)
    mass = jnp.where(x_0 > BORDER, 1 - below, above - below)
    mass = jnp.where(x_0 < -BORDER, above, mass)
    return jnp.log(jnp.maximum(mass, FLOOR))


def _tanh_cdf(z: jax.Array) -> jax.Array:
    return 0.5 * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * (z + 0.044715 * z**3)))


DECODERS: dict[str, Callable[[jax.Array, jax.Array, jax.Array], jax.Array]] = {
    "exact": exact_log_likelihood,
    "tanh": tanh_log_likelihood,
}
"""By the name of the CDF: (x_0, mean, 1 / standard deviation) -> log mass."""


def discretised_log_likelihood(
    x_0: jax.Array, mean: jax.Array, log_variance: jax.Array, cdf: str = "exact"
) -> jax.Array:
    """Log probability, in nats, of each pixel's bin of width 2/255: Eq. 13.

    x_0 holds the centres (v / 127.5 - 1 of v in 0..255); cdf is a name in DECODERS.

    Raises:
      ValueError: if cdf is another.

    Example:
      >>> black, zero = -jnp.ones(1), jnp.zeros(1)
      >>> f"{jnp.exp(discretised_log_likelihood(black, zero, zero))[0]:.4f}"
      '0.1596'
    """
    if cdf not in DECODERS:
        raise ValueError(f"cdf is {cdf!r}; it must be one of {', '.join(DECODERS)}")
    return DECODERS[cdf](x_0, mean, jnp.exp(-0.5 * log_variance))
