"""The mode of edit.py that takes noise off pictures."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.build import Parts
from ddpm_jax.chains import model_on
from ddpm_jax.chains import variance_remarks
from ddpm_jax.edit_modes import Edit
from ddpm_jax.edit_modes import Mode
from ddpm_jax.edit_modes import Task
from ddpm_jax.edit_modes import as_it_is
from ddpm_jax.editing.denoise import denoise
from ddpm_jax.editing.denoise import denoise_sample
from ddpm_jax.editing.denoise import denoising_grid
from ddpm_jax.editing.noise_level import estimate_noise
from ddpm_jax.editing.noise_level import most_noise
from ddpm_jax.images import to_model_range
from ddpm_jax.time_grids import TimeGrid

HALF = 127.5
"""Values of 0..255 in a unit of [-1, 1]."""


@dataclasses.dataclass(frozen=True)
class Denoise(Mode):
    """Takes noise off a picture: the mean of what may lie behind it, or a draw."""

    noise: float | None = None
    """Deviation of the noise, in values of 0..255; estimated from each picture if not
    given."""
    draw: bool = False
    """Draw what may lie behind the picture, in place of the mean; needs --noise."""
    steps: int | None = None
    """Steps of a draw, or all that there are from that noise; 100 if not given."""

    def task(self, parts: Parts) -> Task:
        """Binds denoising to a model."""
        height, width, channels = parts.shape
        if self.steps is not None and not self.draw:
            raise ValueError("--steps is of a draw; give --draw, or leave it out")
        estimates = self.estimates if self.noise is None else None
        edit = self.drawing(parts) if self.draw else self.cleaning(parts)
        return Task(
            (height, width),
            channels,
            edit,
            as_it_is,
            draws=self.draw,
            estimates=estimates,
        )

    def cleaning(self, parts: Parts) -> Edit:
        """The posterior mean, at the noise given or estimated."""
        if self.noise is not None:
            check_level(parts, self.noise)
        given = None if self.noise is None else self.noise / HALF

        def edit(
            parts: Parts,
            params: object,
            keys: jax.Array,
            images: jax.Array,
            painted: jax.Array,
        ) -> jax.Array:
            noise = estimate_noise(images) if given is None else given
            return denoise(
                params, images, noise=noise, schedule=parts.schedule, **parts.sampler
            )

        return edit

    def drawing(self, parts: Parts) -> Edit:
        """A draw of the posterior, at the noise given."""
        grid = self.grid(parts)
        return lambda parts, params, keys, images, painted: denoise_sample(
            params, keys, images, **model_on(grid, parts)
        )

    def grid(self, parts: Parts) -> TimeGrid:
        """The times of a draw, from the noise given."""
        if self.noise is None:
            raise ValueError(
                "--draw takes the steps of one level of noise; give --noise as well, "
                "its deviation in values of 0..255"
            )
        steps = 100 if self.steps is None else self.steps
        if steps < 1:
            raise ValueError(f"--steps is {steps}; give at least 1")
        check_level(parts, self.noise)
        return denoising_grid(parts.schedule, self.noise / HALF, steps)

    def remarks(self, parts: Parts) -> list[str]:
        """Whether a learned variance is not used."""
        return variance_remarks(parts, self.grid(parts)) if self.draw else []

    @staticmethod
    def estimates(images: np.ndarray) -> list[str]:
        """One line for each of uint8 images [N, H, W, C]: the noise found in it."""
        found = np.asarray(estimate_noise(to_model_range(jnp.asarray(images)))) * HALF
        return [f"noise of deviation {noise:.1f}, estimated" for noise in found]


def check_level(parts: Parts, noise: float) -> None:
    """Raises ValueError unless a model knows noise of a deviation, in 0..255."""
    most = most_noise(parts.schedule) * HALF
    if not 0 <= noise <= most:
        raise ValueError(
            f"--noise is {noise:g}; this model knows 0 to {most:.0f}, in values of "
            "0..255"
        )
