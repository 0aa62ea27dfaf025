"""The figures that compare: samples with the data, a model with plain denoisers."""

import dataclasses
from pathlib import Path

import numpy as np

from ddpm_jax.loading import Trained
from ddpm_jax.neighbours import central
from ddpm_jax.paper_figures.denoising import write_denoising
from ddpm_jax.paper_figures.features import image_features
from ddpm_jax.paper_figures.kinds import KindWithImages
from ddpm_jax.paper_figures.kinds import at_least
from ddpm_jax.paper_figures.neighbours import read_samples
from ddpm_jax.paper_figures.neighbours import write_neighbours
from ddpm_jax.sampling import draw

SHOWN = 6
"""Samples that a board of neighbours has."""


@dataclasses.dataclass(frozen=True)
class NearestNeighbours(KindWithImages):
    """Samples, and the training images nearest to each (Figures 12 and 15)."""

    num: int | None = None
    """How many samples; 6 if not given, or those of --samples if they are fewer."""
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
    batch_size: int = 64
    """Samples at a time."""

    def write(self, out: Path, trained: Trained, seed: int) -> list[Path]:
        """Writes neighbours_pixels.png and .csv, named after what is compared."""
        at_least("num", num := SHOWN if self.num is None else self.num, 1)
        at_least("k", self.k, 1)
        at_least("batch-size", self.batch_size, 1)
        shape = trained.parts.shape
        seen = central(np.zeros((1, *shape)), self.middle).shape[1:]
        name, features = image_features(self.features, seen, self.weights)
        dataset = self.images(trained)
        if self.k > (count := len(dataset.train)):
            raise ValueError(
                f"--k is {self.k}, and {dataset.name} has {count} training images; "
                f"give at most {count}"
            )
        if self.samples is not None:
            samples = read_samples(self.samples, self.num, shape, most=SHOWN)
        else:
            print(f"drawing {num} samples ...", flush=True)
            drawn = draw(trained, num=num, seed=seed, batch_size=self.batch_size)
            samples = np.concatenate(list(drawn))
        return write_neighbours(
            out / self.stem(name),
            samples,
            dataset,
            features=lambda images: features(central(images, self.middle)),
            k=self.k,
        )

    def stem(self, features: str) -> str:
        """The name of the files, less what they are, by what is compared."""
        middle = "" if self.middle == 1 else f"_middle{self.middle:g}"
        return f"neighbours_{features}{middle}"


@dataclasses.dataclass(frozen=True)
class Denoising(KindWithImages):
    """Noise taken off held-out images, beside filters that were never trained."""

    noise: tuple[float, ...] = (10.0, 25.0, 50.0, 100.0)
    """Deviations of the noise, in values of 0..255."""
    num: int = 64
    """How many images."""
    shown: int = 5
    """How many of them the boards show."""
    batch_size: int = 64
    """Images at a time."""

    def write(self, out: Path, trained: Trained, seed: int) -> list[Path]:
        """Writes a board for each level, and a table of them all."""
        at_least("num", self.num, 1)
        at_least("shown", self.shown, 1)
        at_least("batch-size", self.batch_size, 1)
        wrong = [level for level in self.noise if not level > 0]
        if wrong or not self.noise:
            got = f"{wrong[0]:g}" if wrong else "not given"
            raise ValueError(
                f"--noise is {got}; give deviations above 0, such as 25, in values of "
                "0..255"
            )
        return write_denoising(
            out,
            trained,
            self.held_out(trained, self.num),
            levels=self.noise,
            shown=self.shown,
            seed=seed,
            batch_size=self.batch_size,
        )
