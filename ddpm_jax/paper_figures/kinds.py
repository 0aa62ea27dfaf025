"""What kinds of figures have in common: that they are written, and of which images."""

import dataclasses
from pathlib import Path

import numpy as np

from ddpm_jax.config import Fit
from ddpm_jax.data import Dataset
from ddpm_jax.loading import Trained
from ddpm_jax.model_images import images_of


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of figure: its options, and how it is drawn."""

    def write(self, out: Path, trained: Trained, seed: int) -> list[Path]:
        """Writes the figure of a model into out; ValueError if an option can't be."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class KindWithImages(Kind):
    """A kind of figure that needs images, of the model's run or of another source."""

    data: str | None = None
    """The images, as in a config's data.source; those of the run if not given."""
    fit: Fit | None = None
    """How --data of another size is brought to the model's; refused if not given."""

    def images(self, trained: Trained) -> Dataset:
        """The images, in the model's size.

        Raises:
          FileNotFoundError, ValueError: as `images_of` does.
        """
        return images_of(trained, self.data, self.fit)

    def held_out(self, trained: Trained, num: int) -> np.ndarray:
        """Num of the held-out images: uint8 [num, H, W, C].

        Raises:
          FileNotFoundError, ValueError: as `images_of` does, or if there are fewer.
        """
        dataset = self.images(trained)
        count = len(dataset.held_out)
        if num > count:
            raise ValueError(
                f"this figure is of {num} held-out images, and {dataset.name} has "
                f"{count}; ask for fewer, or give another --data"
            )
        return dataset.held_out[evenly(count, num)]


def evenly(count: int, num: int) -> np.ndarray:
    """Num of the rows 0..count-1, evenly spaced, since images often come by class.

    Example:
      >>> evenly(9, 3).tolist(), evenly(9, 1).tolist(), evenly(2, 5).tolist()
      ([0, 4, 8], [0], [0, 1])
    """
    return np.linspace(0, count - 1, min(num, count)).round().astype(int)


def at_least(name: str, value: int, least: int) -> None:
    """Raises ValueError if an option is less than it may be."""
    if value < least:
        raise ValueError(f"--{name} is {value}; give at least {least}")
