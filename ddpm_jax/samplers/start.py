"""Where a chain starts: at unit noise that belongs to an image, or at a given x_T.

Every sampler draws its start as the number T of the image's key, so that, given the
same keys, all of them start from the same noise and lead to kindred images.
"""

import jax

from ddpm_jax import keys as per_image


def begin(
    keys: jax.Array, shape: tuple[int, ...], num_timesteps: int, x_T: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Returns keys [B], one for each image, and the start [B, ...] of their chains.

    Raises:
      ValueError: if keys or x_T do not fit the shape.

    Example:
      >>> keys, x_T = begin(jax.random.key(0), (2, 3), 1000, None)
      >>> keys.shape, x_T.shape
      ((2,), (2, 3))
    """
    keys = per_image.one_each(keys, shape[0])
    if x_T is None:
        return keys, per_image.normal(per_image.fold_in(keys, num_timesteps), shape[1:])
    if x_T.shape != shape:
        raise ValueError(f"x_T has shape {x_T.shape}; the samples' shape is {shape}")
    return keys, x_T
