"""Linear inverse problems with an unconditional model: DDRM, Kawar et al. (2022).

Of an image x only y = A x + noise is known. In the spectrum of A each coefficient of x
is seen with an error of its own, noise / s, or not at all. At each step of the chain a
coefficient that is seen better than the chain's level of noise is taken from y, one
that is seen worse is drawn towards it, and the unseen are the model's. No gradient of
the model is needed.

It is a heuristic: for exact models the mean is near that of p(x | y), not equal to it,
and the draws differ less from each other than those of p(x | y).
"""

from functools import partial
from typing import NamedTuple
from typing import Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelOptions
from ddpm_jax.editing.measurements import Measurement
from ddpm_jax.editing.measurements import measure
from ddpm_jax.samplers.start import bind_model
from ddpm_jax.samplers.start import levels
from ddpm_jax.time_grids import TimeGrid


class Seen(NamedTuple):
    """What y says of the coefficients of x; each broadcasts to a spectrum."""

    value: jax.Array  # y-bar = S^+ U^T y
    error: jax.Array  # its deviation, noise / s
    where: jax.Array  # bool: s > 0


def ddrm(
    params: object,
    keys: jax.Array,
    y: jax.Array,
    *,
    measurement: Measurement,
    noise: float | jax.Array = 0.0,
    grid: TimeGrid,
    eta: float = 0.85,
    eta_b: float = 1.0,
    **model: Unpack[ModelOptions],
) -> jax.Array:
    """Draws images whose measurements are y: Eqs. 4 and 5 of Kawar et al. (2022).

    The paper takes 20 steps. Without noise A x = y holds exactly.

    Args:
      params: what eps_fn takes first.
      keys: [B], one for each image, or one key for images 0..B-1.
      y: measurements [B, ...] of images in [-1, 1].
      measurement: A, such as `super_resolution` returns it.
      noise: deviation of the noise in y.
      grid: the times of the chain, S steps.
      eta: share of fresh noise in what is not taken from y, 0..1.
      eta_b: how far a coefficient that is seen well is set to its value, 0..1.
      **model: eps_fn or x0_fn, and what else `ModelOptions` names.

    Raises:
      ValueError: if keys or y don't fit the measurement, noise is no deviation, or a
        share is not in 0..1.

    Example:
      >>> from ddpm_jax.editing.measurements import super_resolution
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> from ddpm_jax.time_grids import make_time_grid
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 20)
      >>> x_0 = ddrm(
      ...     {}, jax.random.key(0), jnp.full((1, 1, 1, 1), 0.5),
      ...     measurement=super_resolution((2, 2, 1), 2),
      ...     x0_fn=lambda params, x_t, t: jnp.zeros_like(x_t), grid=grid)
      >>> x_0.mean().round(4).tolist()
      0.5
    """
    check_shares(eta=eta, eta_b=eta_b)
    check_measurements(measurement, y)
    check_deviation(noise)
    keys = per_image.one_each(keys, y.shape[0])
    seen = read(measurement, y, noise)
    ask = bind_model(params, grid, **model)
    to_spectrum, to_images = measurement.v_transpose, measurement.v

    def draw(number: jax.Array | int) -> jax.Array:
        z = per_image.normal(per_image.fold_in(keys, number), measurement.image_shape)
        return to_spectrum(z)

    def one_step(
        carry: tuple[jax.Array, jax.Array],
        row: tuple[Level, jax.Array, jax.Array, jax.Array],
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        (x_t, guess), (level, alpha, sigma, number) = carry, row
        x_0, eps, _ = ask(x_t, level, guess)
        mean, deviation = restore(
            seen, to_spectrum(x_0), to_spectrum(eps), sigma, eta=eta, eta_b=eta_b
        )
        x_s = alpha * to_images(mean + deviation * draw(number))
        return (x_s, x_0), None

    z = draw(grid.num_timesteps)
    start = to_images(first(seen, grid.alpha[0].item(), grid.sigma[0].item(), z))
    rows = (
        levels(grid),
        jnp.asarray(grid.alpha[1:]),
        jnp.asarray(grid.sigma[1:] / grid.alpha[1:]),  # the paper's sigma
        jnp.asarray(grid.noise_numbers),
    )
    (x_0, _), _ = jax.lax.scan(one_step, (start, jnp.zeros_like(start)), rows)
    return x_0


def read(measurement: Measurement, y: jax.Array, noise: float | jax.Array) -> Seen:
    """What y says of each coefficient of the images' spectrum."""
    values = measurement.singular_values
    where = values > 0
    divisor = jnp.where(where, values, 1.0)
    value = jnp.where(where, measurement.u_transpose(y) / divisor, 0.0)
    return Seen(value, noise / divisor, where)


def first(seen: Seen, alpha: float, sigma: float, z: jax.Array) -> jax.Array:
    """Draws the spectrum of x_T from unit noise z: Eq. 4, times sqrt(alpha_bar)."""
    rest = jnp.maximum(sigma**2 - (alpha * seen.error) ** 2, 0.0)
    drawn = alpha * seen.value + jnp.sqrt(rest) * z
    return jnp.where(seen.where, drawn, sigma * z)


def restore(
    seen: Seen,
    x_0: jax.Array,
    eps: jax.Array,
    sigma: jax.Array,
    *,
    eta: float,
    eta_b: float,
) -> tuple[jax.Array, jax.Array]:
    """Mean and deviation of the coefficients at noise sigma: Eq. 5.

    x_0 and eps are the spectra of what the model predicts.
    """
    worse = jnp.where(seen.where, sigma < seen.error, False)
    # Eq. 5 divides the gap by the error, which is 0 only where it is not used.
    gap = (seen.value - x_0) / jnp.where(worse, seen.error, 1.0)
    drawn = x_0 + jnp.sqrt(1 - eta**2) * sigma * jnp.where(seen.where, gap, eps)
    taken = (1 - eta_b) * x_0 + eta_b * seen.value
    rest = jnp.maximum(sigma**2 - (eta_b * seen.error) ** 2, 0.0)
    use = seen.where & ~worse
    return (
        jnp.where(use, taken, drawn),
        jnp.where(use, jnp.sqrt(rest), eta * sigma),
    )


def check_shares(**shares: float) -> None:
    """Raises ValueError unless every one is a number in 0..1.

    Example:
      >>> check_shares(eta=0.85, eta_b=1.0)
    """
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; give a number in 0..1")


def check_measurements(measurement: Measurement, y: jax.Array) -> None:
    """Raises ValueError unless y has the shape of measurements of images.

    Example:
      >>> from ddpm_jax.editing.measurements import super_resolution
      >>> check_measurements(super_resolution((8, 8, 3), 2), jnp.zeros((5, 4, 4, 3)))
    """
    image = jax.ShapeDtypeStruct((y.shape[0], *measurement.image_shape), jnp.float32)
    wanted = jax.eval_shape(partial(measure, measurement), image).shape
    if y.shape != wanted:
        raise ValueError(
            f"y has shape {y.shape}; this measurement of {y.shape[0]} images "
            f"{measurement.image_shape} has {wanted}"
        )


def check_deviation(noise: float | jax.Array) -> None:
    """Raises ValueError unless noise is a number, finite and at least 0.

    While JAX traces only whether it is one number is known.

    Example:
      >>> check_deviation(0.1)
    """
    if np.ndim(noise):
        raise ValueError(
            f"noise has shape {np.shape(noise)}; give one deviation, of all images"
        )
    if not isinstance(noise, jax.core.Tracer) and not 0 <= noise < np.inf:
        raise ValueError(f"noise is {noise:g}; give a deviation of at least 0")
