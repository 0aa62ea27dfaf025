"""The modes of edit.py: their options, and what they call.

A mode turns its options and a model into a `Task`: how pictures are read, what is
shown as the picture before, and the function that edits a batch.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from typing import NamedTuple

import jax
import numpy as np
from tyro.conf import Positional

from ddpm_jax.build import Parts
from ddpm_jax.chains import grid_of_steps
from ddpm_jax.chains import model_on
from ddpm_jax.chains import variance_remarks
from ddpm_jax.editing.ddrm import ddrm
from ddpm_jax.editing.inpaint import inpaint
from ddpm_jax.editing.matrices import gaussian_blur
from ddpm_jax.editing.measurements import Measurement
from ddpm_jax.editing.measurements import colourisation
from ddpm_jax.editing.measurements import super_resolution
from ddpm_jax.editing.sdedit import sdedit
from ddpm_jax.editing.time_travel import time_travel
from ddpm_jax.time_grids import TimeGrid

Edit = Callable[[Parts, object, jax.Array, jax.Array, jax.Array], jax.Array]
"""(parts, params, keys [B], images [B, h, w, c], painted [B, h, w, 1]) -> x_0 [B, ...].

parts are those of the model that the mode was bound to, told labels or not."""


class Task(NamedTuple):
    """What a mode does with a model."""

    image_size: tuple[int, int]  # to which pictures are brought
    channels: int
    edit: Edit
    before: Callable[[np.ndarray, np.ndarray], np.ndarray]  # what is shown beside it
    mask: Path | None = None
    draws: bool = True  # or all variations of a picture are the same
    # uint8 [N, H, W, C] -> a line to print for each picture
    estimates: Callable[[np.ndarray], list[str]] | None = None


@dataclasses.dataclass(frozen=True)
class Mode:
    """What all modes are given."""

    images: Positional[tuple[Path, ...]]
    """Picture files, and folders of them."""

    def task(self, parts: Parts) -> Task:
        """Binds the mode to a model; ValueError if an option does not fit it."""
        raise NotImplementedError

    def remarks(self, parts: Parts) -> list[str]:
        """What the mode does that its options do not say: lines to print."""
        return []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ancestral(Mode):
    """What modes whose chain is ancestral have: its times, and what its variance is."""

    steps: int | None = None
    """Steps of the chain."""
    usual: ClassVar[int]

    def grid(self, parts: Parts) -> TimeGrid:
        """The times of the chain."""
        return grid_of_steps(parts, self.steps, usual=self.usual)

    def remarks(self, parts: Parts) -> list[str]:
        """Whether a learned variance is not used."""
        return variance_remarks(parts, self.grid(parts))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inpaint(Ancestral):
    """Paints a part of a picture anew, the mask's white one (RePaint)."""

    mask: Path
    """A picture of the same size: white is painted anew, black stays."""
    steps: int | None = None
    """Steps of the chain; 250 if not given, or all of the model's T."""
    resamples: int = 10
    """How often each stretch is gone through; with 1 the parts do not fit."""
    jump: int = 5
    """Steps in a stretch."""
    usual = 250

    def task(self, parts: Parts) -> Task:
        """Binds RePaint to a model."""
        grid = self.grid(parts)
        time_travel(grid.num_steps, self.resamples, self.jump)  # for its errors
        height, width, channels = parts.shape

        def edit(
            parts: Parts,
            params: object,
            keys: jax.Array,
            images: jax.Array,
            painted: jax.Array,
        ) -> jax.Array:
            return inpaint(
                params,
                keys,
                images,
                ~painted,
                resamples=self.resamples,
                jump=self.jump,
                **model_on(grid, parts),
            )

        def before(images: np.ndarray, painted: np.ndarray) -> np.ndarray:
            return np.where(painted, np.uint8(128), images)

        return Task((height, width), channels, edit, before, self.mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Img2img(Ancestral):
    """Redraws a picture that keeps its layout (SDEdit)."""

    strength: float = 0.5
    """Share of the chain that is run: 0 changes nothing; 1 keeps what the schedule's
    last step leaves of a picture, next to nothing."""
    steps: int | None = None
    """Steps of the whole chain; 1000 if not given, or all of the model's T."""
    usual = 1000

    def task(self, parts: Parts) -> Task:
        """Binds SDEdit to a model."""
        check_share("strength", self.strength)
        grid = self.grid(parts)
        run = round(self.strength * grid.num_steps)
        height, width, channels = parts.shape

        def edit(
            parts: Parts,
            params: object,
            keys: jax.Array,
            images: jax.Array,
            painted: jax.Array,
        ) -> jax.Array:
            return sdedit(params, keys, images, num_steps=run, **model_on(grid, parts))

        return Task((height, width), channels, edit, as_it_is)


@dataclasses.dataclass(frozen=True)
class Restore(Mode):
    """What all linear inverse problems are given."""

    steps: int | None = None
    """Steps of the chain; 100 if not given, or all of the model's T."""
    noise: float = 0.0
    """Deviation of the noise in the picture, in values of 0..255."""


@dataclasses.dataclass(frozen=True)
class Upscale(Restore):
    """Draws what a small picture, the means of blocks, may have looked like (DDRM)."""

    factor: int = 2
    """A pixel of the picture becomes factor x factor pixels of the model's size."""

    def task(self, parts: Parts) -> Task:
        """Binds DDRM, with means of blocks, to a model."""
        if self.factor < 2:
            raise ValueError(
                f"--factor is {self.factor}; give 2 or more, a divisor of the height "
                "and the width of the model's images"
            )
        measurement = super_resolution(parts.shape, self.factor)
        height, width, channels = parts.shape

        def before(images: np.ndarray, painted: np.ndarray) -> np.ndarray:
            return images.repeat(self.factor, axis=1).repeat(self.factor, axis=2)

        size = (height // self.factor, width // self.factor)
        return Task(size, channels, restoring(self, parts, measurement), before)


@dataclasses.dataclass(frozen=True)
class Colourise(Restore):
    """Gives a picture, of which the gray counts, colours (DDRM)."""

    def task(self, parts: Parts) -> Task:
        """Binds DDRM, with the gray of RGB, to a model."""
        height, width, channels = parts.shape
        if channels != 3:
            raise ValueError(
                f"the channels of the model's images are {channels}; only a model of "
                "3, RGB, can colourise"
            )
        measurement = colourisation(parts.shape)

        def before(images: np.ndarray, painted: np.ndarray) -> np.ndarray:
            return images.repeat(3, axis=3)

        return Task((height, width), 1, restoring(self, parts, measurement), before)


@dataclasses.dataclass(frozen=True)
class Deblur(Restore):
    """Sharpens a picture that a normal has blurred (DDRM)."""

    noise: float = 1.0
    """Deviation of the noise in the picture, in values of 0..255."""
    blur: float = 1.0
    """Deviation of the blur, in pixels of the model's size."""

    def task(self, parts: Parts) -> Task:
        """Binds DDRM, with a blur, to a model."""
        height, width, channels = parts.shape
        measurement = gaussian_blur(parts.shape, self.blur)
        edit = restoring(self, parts, measurement)
        return Task((height, width), channels, edit, as_it_is)


def restoring(options: Restore, parts: Parts, measurement: Measurement) -> Edit:
    """DDRM of one kind of measurement, as a Task takes it."""
    if not 0 <= options.noise < float("inf"):
        raise ValueError(f"--noise is {options.noise}; give 0 or more")
    grid = grid_of_steps(parts, options.steps, usual=100)
    return lambda parts, params, keys, images, painted: ddrm(
        params,
        keys,
        images,
        measurement=measurement,
        noise=options.noise / 127.5,
        **model_on(grid, parts),
    )


def check_share(name: str, value: float) -> None:
    """Raises ValueError unless an option lies in 0..1."""
    if not 0 <= value <= 1:
        raise ValueError(f"--{name} is {value}; give a number in 0..1")


def as_it_is(images: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """The picture itself is what was there before."""
    return images
