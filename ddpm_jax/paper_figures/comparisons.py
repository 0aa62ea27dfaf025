"""The figures that compare: samples with the data, a model with plain denoisers."""

import dataclasses
from pathlib import Path

import numpy as np

from ddpm_jax.neighbours import central
from ddpm_jax.paper_figures.denoising import write_denoising
from ddpm_jax.paper_figures.features import image_features
from ddpm_jax.paper_figures.modes import Kind
from ddpm_jax.paper_figures.modes import at_least
from ddpm_jax.paper_figures.modes import held_out
from ddpm_jax.paper_figures.modes import images_of
from ddpm_jax.paper_figures.neighbours import read_samples
from ddpm_jax.paper_figures.neighbours import write_neighbours
from ddpm_jax.sampling import Trained
from ddpm_jax.sampling import draw


@dataclasses.dataclass(frozen=True)
class NearestNeighbours(Kind):
    """Samples, and the training images nearest to each (Figures 12 and 15)."""

    num: int = 6
    """How many samples."""
    k: int = 8
    """How many neighbours of each."""
    samples: Path | None = None
    """Take the first of this samples.npz of sample.py, and draw none."""
    features: str = "pixels"
    """What is compared: pixels, or the features of inception, digits_cnn, ..."""
    weights: Path | None = None
    """The file of the features' weights, where it is not the usual one."""
    middle: float = 1.0
    """The share of either side, about the middle, that is compared."""
    data: str | None = None
    """The images, as in a config's data.source; those of the run if not given."""

    def write(self, out: Path, trained: Trained, seed: int) -> list[Path]:
        """Writes neighbours.png and neighbours.csv."""
        at_least("num", self.num, 1)
        at_least("k", self.k, 1)
        shape = trained.parts.shape
        seen = central(np.zeros((1, *shape)), self.middle).shape[1:]
        features = image_features(self.features, seen, self.weights)
        dataset = images_of(trained.config, self.data)
        if self.samples is not None:
            samples = read_samples(self.samples, self.num, shape)
        else:
            print(f"drawing {self.num} samples ...", flush=True)
            drawn = draw(trained, num=self.num, seed=seed, batch_size=self.num)
            samples = np.concatenate(list(drawn))
        return write_neighbours(
            out,
            samples,
            dataset,
            features=lambda images: features(central(images, self.middle)),
            k=self.k,
        )


@dataclasses.dataclass(frozen=True)
class Denoising(Kind):
    """Noise taken off held-out images, beside filters that were never trained."""

    noise: tuple[float, ...] = (10.0, 25.0, 50.0, 100.0)
    """Deviations of the noise, in values of 0..255."""
    num: int = 64
    """How many images."""
    shown: int = 5
    """How many of them the boards show."""
    batch_size: int = 64
    """Images at a time."""
    data: str | None = None
    """The images, as in a config's data.source; those of the run if not given."""

    def write(self, out: Path, trained: Trained, seed: int) -> list[Path]:
        """Writes a board for each level, denoising.csv and denoising.md."""
        at_least("num", self.num, 1)
        at_least("shown", self.shown, 1)
        at_least("batch-size", self.batch_size, 1)
        if not self.noise:
            raise ValueError("--noise is not given; give deviations, such as 25")
        return write_denoising(
            out,
            trained,
            held_out(trained.config, self.data, self.num),
            levels=self.noise,
            shown=self.shown,
            seed=seed,
            batch_size=self.batch_size,
        )
