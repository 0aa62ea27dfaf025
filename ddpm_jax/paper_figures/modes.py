"""The figures of the process and of the latents: their options, and what they call."""

import dataclasses
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from ddpm_jax.config import Fit
from ddpm_jax.data.decode import Policy
from ddpm_jax.loading import Trained
from ddpm_jax.paper_figures.features import image_features
from ddpm_jax.paper_figures.kinds import Kind
from ddpm_jax.paper_figures.kinds import KindWithImages
from ddpm_jax.paper_figures.kinds import at_least
from ddpm_jax.paper_figures.latents import write_interpolation
from ddpm_jax.paper_figures.latents import write_shared
from ddpm_jax.paper_figures.process import write_strips
from ddpm_jax.paper_figures.progressive import reference_of
from ddpm_jax.paper_figures.progressive import write_progressive
from ddpm_jax.pictures import read_image


@dataclasses.dataclass(frozen=True)
class Strips(KindWithImages):
    """The forward and the reverse process, one above the other."""

    picture: Path | None = None
    """What the forward process takes apart; a held-out image if not given."""
    frames: int = 8
    """How many t."""

    def write(self, out: Path, trained: Trained, seed: int) -> list[Path]:
        """Writes strips.png."""
        at_least("frames", self.frames, 2)
        if self.picture is None:
            image = self.held_out(trained, 1)[0]
        else:
            data = trained.config.data
            policy = Policy(data.image_size, data.channels, data.fit)
            image = read_image(self.picture, policy)
        return write_strips(out, trained, image, seed=seed, count=self.frames)


@dataclasses.dataclass(frozen=True)
class Progressive(KindWithImages):
    """How samples come to be: the x_0 that is predicted, as t falls (Figure 6)."""

    shown: int = 6
    """Samples that the board shows."""
    frames: int = 10
    """How many t it shows."""
    num: int = 64
    """Samples that the curves are of."""
    features: str | None = None
    """Also measure the Frechet distance of what is predicted to the training images,
    in these features, such as digits_cnn (Figure 10); it takes hundreds of samples."""
    weights: Path | None = None
    """The file of the features' weights, where it is not the usual one."""
    batch_size: int = 64
    """Samples at a time."""

    def write(self, out: Path, trained: Trained, seed: int) -> list[Path]:
        """Writes progressive.png, progressive.csv and progressive_curve.png.

        With features their name follows upon progressive.
        """
        at_least("shown", self.shown, 1)
        at_least("frames", self.frames, 2)
        at_least("num", self.num, self.shown)
        at_least("batch-size", self.batch_size, 1)
        reference = None
        if self.features is not None:
            at_least("num", self.num, 2)
            shape = trained.parts.shape
            compared = image_features(self.features, shape, self.weights)
            reference = reference_of(self.images(trained).train, compared)
        return write_progressive(
            out,
            trained,
            seed=seed,
            num=self.num,
            shown=self.shown,
            frames=self.frames,
            batch_size=self.batch_size,
            reference=reference,
        )


@dataclasses.dataclass(frozen=True)
class SharedLatents(Kind):
    """Samples that are one down to some t, and then part (Figure 7)."""

    t: tuple[int, ...] = (1000, 750, 500, 250)
    """Steps of noise at which they part, of the model's T."""
    copies: int = 7
    """How many samples."""
    image: int = 0
    """The number of the sample that they are copies of."""
    steps: int | None = None
    """Steps of the whole chain; all T if not given."""

    def write(self, out: Path, trained: Trained, seed: int) -> list[Path]:
        """Writes shared_latents.png."""
        at_least("copies", self.copies, 1)
        at_least("image", self.image, 0)
        return write_shared(
            out,
            trained,
            image=self.image,
            copies=self.copies,
            t=self.t,
            steps=self.steps,
            seed=seed,
        )


@dataclasses.dataclass(frozen=True)
class Interpolate(Kind):
    """Images between two pictures, by way of their latents (Figures 8 and 9)."""

    first: Positional[Path]
    """A picture."""
    second: Positional[Path]
    """And another one."""
    lambdas: tuple[float, ...] = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
    """Shares of the second picture."""
    t: tuple[int, ...] = (500,)
    """Steps of noise at which they are mixed, of the model's T; several give rows."""
    steps: int | None = None
    """Steps of the whole chain; all T if not given."""
    fit: Fit = "crop"
    """How a picture of another size is brought to the right one; see docs/data.md."""

    def write(self, out: Path, trained: Trained, seed: int) -> list[Path]:
        """Writes interpolation.png, and a file for each t and lambda."""
        wrong = [weight for weight in self.lambdas if not 0 <= weight <= 1]
        if wrong or not self.lambdas:
            got = f"{wrong[0]:g}" if wrong else "not given"
            raise ValueError(f"--lambdas is {got}; give numbers in 0..1")
        data = trained.config.data
        policy = Policy(data.image_size, data.channels, self.fit)
        ends = np.stack([read_image(x, policy) for x in (self.first, self.second)])
        return write_interpolation(
            out,
            trained,
            ends,
            lambdas=self.lambdas,
            t=self.t,
            steps=self.steps,
            seed=seed,
        )
