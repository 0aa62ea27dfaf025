"""Pixels of 256 values as real numbers, and what a density of those says in bits.

Uniform dequantisation (Theis et al. 2016): a density of pixels with noise,
uniform over the bins of width 2/255, bounds the probability of the pixels themselves.
"""

import math

import jax

from ddpm_jax import keys as per_image

BIN = 2 / 255  # of a pixel in [-1, 1]


def dequantise(keys: jax.Array, x_0: jax.Array) -> jax.Array:
    """Adds noise to x_0 [B, ...], uint8 pixels in [-1, 1], uniform over their bins.

    Example:
      >>> x = dequantise(jax.random.key(0), jax.numpy.ones((1, 100)))
      >>> bool((abs(x - 1) <= 1 / 255 + 1e-6).all())
      True
    """
    keys = per_image.fold_in(per_image.one_each(keys, x_0.shape[0]), 0)
    return x_0 + BIN * (per_image.uniform(keys, x_0.shape[1:]) - 0.5)


def bits_of(log_density: jax.Array, size: int) -> jax.Array:
    """Bits per dimension of uint8 pixels, from the density of `dequantise`'s.

    By Jensen's inequality it is on average an upper bound of the bits of the discrete
    image, whose probability is the integral of the density over its bins.

    Example:
      >>> f"{bits_of(jax.numpy.log(jax.numpy.array([0.5])), 1)[0]:.4f}"
      '7.9944'
    """
    return -log_density / (size * math.log(2)) - math.log2(BIN)
