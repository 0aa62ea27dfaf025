"""What a metric of evaluate.py is given, and what it answers with.

A metric is two functions of a `Task`. `protocol` says what the numbers will be of, as
plain data, before anything is computed: it refuses bad input in one sentence, reads
what it must (a data set, a file's checksum) and compiles nothing. `measure` computes
the numbers, and writes files of its own into task.out.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np

from ddpm_jax.chains import Chain
from ddpm_jax.data import Dataset
from ddpm_jax.data import Images
from ddpm_jax.data import crc32_of
from ddpm_jax.data.dataset import Subset
from ddpm_jax.data.order import permutation
from ddpm_jax.evaluation.feature_rows import Source
from ddpm_jax.evaluation.sample_sources import of_images
from ddpm_jax.evaluation.sample_sources import samples_of
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.loading import Trained
from ddpm_jax.metrics.extractors import Extractor
from ddpm_jax.metrics.extractors import make_extractor
from ddpm_jax.model_images import images_of
from ddpm_jax.rate_distortion import Estimate
from ddpm_jax.sampling import choose_chain


class Selected(NamedTuple):
    """Images of a split, and what a protocol says of them."""

    images: Subset
    protocol: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """A model, how it is evaluated, and the folder for what comes of it."""

    trained: Trained
    settings: Settings
    out: Path

    @property
    def chain(self) -> Chain:
        """The chain that draws the samples.

        Raises:
          ValueError: if a label is no class of the model.
        """
        return choose_chain(self.trained, self.settings)

    @cached_property
    def dataset(self) -> Dataset:
        """The data, in the model's size; read once, for all metrics.

        Raises:
          FileNotFoundError, ValueError: if they are not there, or of another size.
        """
        return images_of(self.trained, self.settings.data, self.settings.fit)

    @cached_property
    def extractor(self) -> Extractor:
        """Whose features are compared; read once, for all metrics.

        Raises:
          ValueError, FileNotFoundError: as `make_extractor` does.
        """
        return make_extractor(self.settings.extractor, self.settings.weights)

    @cached_property
    def samples(self) -> Source:
        """The samples that the options name, drawn or read; read once.

        Raises:
          ValueError, FileNotFoundError: as `samples_of` does.
        """
        return samples_of(self.trained, self.settings)

    @cached_property
    def reference(self) -> Source:
        """The images that samples are compared with: of --reference, a split.

        Raises:
          ValueError: as `select` does.
        """
        split, num = self.settings.reference, self.settings.num_reference
        return of_images(*self.select(split, num, "--num-reference"))

    @cached_property
    def measured(self) -> Selected:
        """The images of the metrics that measure images: --num of --split.

        Raises:
          ValueError: as `select` does.
        """
        return self.select(self.settings.split, self.settings.num, "--num")

    def select(self, split: str, num: int | None, option: str) -> Selected:
        """num images of a split, shuffled, or all.

        Raises:
          ValueError: if there are not so many; option is what asked for them.
        """
        images: Images = getattr(self.dataset, split)
        count, settings = len(images), self.settings
        if num is not None and num > count:
            raise ValueError(
                f"{option} is {num}, and the {split} split of the data has {count} "
                f"images; give at most {count}, or another --data"
            )
        # A smaller number takes the first of a larger one, and not of one class alone.
        chosen = Subset(images, permutation(0, 0, count)[:num])
        protocol = {
            "images": len(chosen),
            "data": settings.data or self.trained.config.data.source,
            "fit": settings.fit or self.trained.config.data.fit,
            "split": split,
            "images in the split": count,
            "crc32 of the images": crc32_of(chosen),
        }
        return Selected(chosen, protocol)

    @cached_property
    def labels(self) -> np.ndarray | None:
        """The classes [N] of the images of the split, if the model is conditioned.

        Raises:
          ValueError: if the images have none, or have other classes.
        """
        known = self.trained.parts.model.num_classes
        if known is None:
            return None
        labels = getattr(self.dataset, f"{self.settings.split}_labels")
        classes = len(self.dataset.report.classes)
        if labels is None or classes != known:
            raise ValueError(
                f"the model knows {known} classes and {self.dataset.name} has "
                f"{classes}; give --data with labels of the same classes"
            )
        return np.asarray(labels, np.int32)

    def conditioning(self) -> dict[str, Any]:
        """What a model is conditioned on beside x_t and t, where it is."""
        inputs = {}
        if self.labels is not None:
            inputs["label"] = "each image's own"
        if self.trained.parts.objective.self_condition:
            inputs["guess of x_0"] = "none"
        return inputs


def digest(protocol: dict[str, Any]) -> str:
    """8 digits that tell a protocol from another, for names of files.

    Example:
      >>> digest({"seed": 0}) == digest({"seed": 1})
      False
    """
    return hashlib.sha256(json.dumps(protocol).encode()).hexdigest()[:8]


class Number(NamedTuple):
    """One number of a metric."""

    name: str
    value: float
    standard_error: float | None  # None: not known
    unit: str  # "" for scores without one


def number(name: str, estimate: Estimate, unit: str) -> Number:
    """An estimate with its name and unit; of one image there is no standard error."""
    error = float(estimate.error)
    return Number(name, float(estimate.mean), None if np.isnan(error) else error, unit)


class Measured(NamedTuple):
    """The numbers of a metric, and the files that it wrote."""

    numbers: list[Number]
    files: list[Path]


class Metric(NamedTuple):
    """The functions of a metric."""

    protocol: Callable[[Task], dict[str, Any]]
    measure: Callable[[Task], Measured]
    label: Callable[[Task], str] | None = None
    """The name of its record; None: its name on the command line."""
