"""Random draws that belong to an image, not to the batch it travels in.

What is drawn for image i is a function of (key, i) and of nothing else: not of the
batch size, the number of devices or of hosts. Every function here works on keys [B],
one for each image.
"""

from functools import partial

import jax
import jax.numpy as jnp


def image_keys(key: jax.Array, count: int, start: int | jax.Array = 0) -> jax.Array:
    """Returns the keys [count] of images start, start + 1, ...: fold_in(key, i).

    Example:
      >>> key = jax.random.key(0)
      >>> bool((image_keys(key, 4)[2:] == image_keys(key, 2, start=2)).all())
      True
    """
    return fold_in_each(key, start + jnp.arange(count))


def one_each(keys: jax.Array, count: int) -> jax.Array:
    """Returns keys [count]: those given, or those of images 0.. under one key.

    Raises:
      ValueError: if there are neither one nor count keys.

    Example:
      >>> one_each(jax.random.key(0), 3).shape
      (3,)
    """
    if keys.shape == ():
        return image_keys(keys, count)
    if keys.shape != (count,):
        raise ValueError(
            f"keys has shape {keys.shape}; give one key, or one for each of the "
            f"{count} images, as ddpm_jax.image_keys(key, {count}) makes them"
        )
    return keys


def fold_in_each(key: jax.Array, numbers: jax.Array) -> jax.Array:
    """Folds each of the numbers [B] into one key: keys [B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)


def fold_in(keys: jax.Array, data: int | jax.Array) -> jax.Array:
    """Folds one number into each of the keys [B]."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, data)


def normal(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws unit normals [B, *shape], row i from keys[i]."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def uniform(keys: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draws numbers [B, *shape] in [0, 1), row i from keys[i]."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape))(keys)


def randint(keys: jax.Array, stop: int) -> jax.Array:
    """Draws integers [B], uniform in 0..stop-1, number i from keys[i]."""
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, stop))(keys)


def bernoulli(
    keys: jax.Array, probability: float, shape: tuple[int, ...] = ()
) -> jax.Array:
    """Draws booleans [B, *shape], row i from keys[i]; probability to within 2^-17.

    Example:
      >>> keys = image_keys(jax.random.key(0), 2)
      >>> bernoulli(keys, 0.9, (100,)).shape
      (2, 100)
    """
    # 16 bits a draw, not 32: dropout draws more numbers than all else together.
    draw = partial(jax.random.bits, shape=shape, dtype=jnp.uint16)
    return jax.vmap(draw)(keys).astype(jnp.uint32) < round(probability * 2**16)
