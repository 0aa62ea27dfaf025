"""How much noise is in a picture, and how much a schedule knows."""

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.schedules import Schedule

# The median of abs(n) for a unit normal n.
MEDIAN = 0.6744897501960817


def estimate_noise(images: jax.Array) -> jax.Array:
    """The deviation [B] of the noise in images [B, H, W, C], from the images alone.

    A diagonal difference of 2x2 pixels, (a - b - c + d) / 2, holds the noise at its
    full deviation and next to nothing of what is smooth or straight; the median over
    all of them leaves out the rest (Donoho and Johnstone 1994, with Haar's wavelet). It
    takes what is fine in a picture for noise, and noise that was clipped for less.

    Raises:
      ValueError: if the images have less than 2x2 pixels.

    Example:
      >>> n = jax.random.normal(jax.random.key(0), (1, 64, 64, 1))
      >>> ramp = jnp.linspace(-1, 1, 64)[None, :, None, None]
      >>> bool(abs(estimate_noise(ramp + 0.2 * n)[0] - 0.2) < 0.01)
      True
    """
    if images.ndim != 4 or min(images.shape[1:3]) < 2:
        raise ValueError(
            f"images have shape {images.shape}; noise is estimated from [B, H, W, C] "
            "of at least 2x2 pixels"
        )
    rows = images[:, 1:] - images[:, :-1]
    detail = (rows[:, :, 1:] - rows[:, :, :-1]) / 2
    return jnp.median(abs(detail), axis=(1, 2, 3)) / MEDIAN


def nearest_t(schedule: Schedule, noise: jax.Array) -> jax.Array:
    """The t [B] whose noise, relative to the signal, is nearest to noise [B].

    Nearest by log(1 + noise^2) = -log alpha_bar. Less than one step of noise is t = 0.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> nearest_t(schedule, jnp.array([0.0, 0.3, 1.0])).tolist()
      [0, 88, 258]
    """
    table = -jnp.cumsum(jnp.log1p(-schedule.betas))
    t = jnp.interp(jnp.log1p(noise**2), table, jnp.arange(table.size, dtype=float))
    return jnp.round(t).astype(jnp.int32)


def most_noise(schedule: Schedule) -> float:
    """The most noise that a schedule knows, relative to the signal.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> round(most_noise(make_schedule(linear_beta_schedule(1000))), 1)
      157.4
    """
    betas = np.asarray(schedule.betas, np.float64)
    table = np.log1p(-betas[betas < 1]).cumsum()
    return float(np.sqrt(np.expm1(-table[-1])))


def check_noise(schedule: Schedule, noise: float | jax.Array, count: int) -> None:
    """Raises ValueError unless noise is one level, or count, from 0 to the schedule's.

    While tracing only the shape is checked.
    """
    shape = np.shape(noise)
    if shape not in ((), (count,)):
        raise ValueError(f"noise has shape {shape}; give one, or one of {count} images")
    if isinstance(noise, jax.core.Tracer) or isinstance(
        schedule.betas, jax.core.Tracer
    ):
        return
    values, most = np.ravel(np.asarray(noise)), most_noise(schedule)
    wrong = values[~((values >= 0) & (values <= most))]
    if wrong.size:
        raise ValueError(
            f"noise is {wrong[0]:g}; this schedule knows 0 to {most:g}, in the scale "
            "of [-1, 1]"
        )
