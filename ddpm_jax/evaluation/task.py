"""What a metric of evaluate.py is given, and what it answers with.

A metric is two functions of a `Task`. `protocol` says what the numbers will be of, as
plain data, before anything is computed: it refuses bad input in one sentence, reads
what it must (a data set, a file's checksum) and compiles nothing. `measure` computes
the numbers, and writes files of its own into task.out.
"""

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from typing import Literal
from typing import NamedTuple

import numpy as np

from ddpm_jax.chains import Chain
from ddpm_jax.command import Sampler
from ddpm_jax.command import Spacing
from ddpm_jax.config import dataset_of
from ddpm_jax.data import Dataset
from ddpm_jax.data import Images
from ddpm_jax.data import crc32_of_some
from ddpm_jax.data.order import permutation
from ddpm_jax.metrics.extractors import Extractor
from ddpm_jax.metrics.extractors import make_extractor
from ddpm_jax.rate_distortion import Estimate
from ddpm_jax.sampling import Trained
from ddpm_jax.sampling import chain_of


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a model is evaluated: the options of evaluate.py that metrics read."""

    seed: int = 0
    """Of all noise."""
    batch_size: int = 64
    """Images at a time."""
    data: str | None = None
    """The images, as in a config's data.source; those of its own run if not given."""
    fit: Literal["crop", "pad", "pad_white", "stretch"] | None = None
    """How --data of another size is brought to the model's; refused if not given."""
    split: Literal["held_out", "train"] = "held_out"
    """Which of them."""
    num: int | None = None
    """How many of them, in an order that is shuffled once for all; all if not given."""
    num_samples: int | None = None
    """fid, kid, is, pr: how many samples; 50,000, or all of --samples, if not given."""
    samples: Path | None = None
    """fid, kid, is, pr: measure these, an .npz, a folder or a zip, and draw none."""
    reference: str = "train"
    """fid, kid, pr: the images to compare with, train or held_out; for fid also the
    path of an .npz of their mu and sigma."""
    extractor: str = "inception"
    """fid, kid, is, pr: whose features: inception, pixels8, digits_cnn, cifar10_cnn."""
    weights: Path | None = None
    """The file of the extractor's weights, where it is not the usual one."""
    sampler: Sampler | None = None
    """fid, kid, is, pr: how samples are drawn, as in sample.py."""
    steps: int | None = None
    """Steps of the chain; all that the model was trained on if not given."""
    spacing: Spacing | None = None
    """Where the steps of a short chain lie; the model's own, or uniform."""
    eta: float = 0.0
    """Noise of ddim, from 0 to 1."""
    label: tuple[str, ...] = ()
    """Classes to draw, one after another, of a model that was trained with labels:
    their numbers, or their names."""
    guidance: float = 1.0
    """Classifier-free guidance towards the label; 1 is none."""
    threshold: float | None = None
    """Dynamic thresholding: the percentile; clipping if not given."""
    draws: int = 1
    """nll: draws of the noise for each term of the bound."""
    cdf: Literal["exact", "tanh"] = "exact"
    """nll: the normal CDF of the decoder; tanh is the paper code's approximation."""
    trace: Literal["hutchinson", "exact"] = "hutchinson"
    """nll_ode: how the divergence is had; exact takes a pass for each dimension."""
    probes: int = 1
    """nll_ode: random vectors of Hutchinson's estimate."""
    tolerance: float = 1e-5
    """nll_ode: relative and absolute error that a step of the solver may make."""


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
        return chain_of(self.trained, self.settings)

    @cached_property
    def dataset(self) -> Dataset:
        """The data, in the model's size; read once, for all metrics.

        Raises:
          FileNotFoundError, ValueError: if they are not there, or of another size.
        """
        data, settings = self.trained.config.data, self.settings
        source, fit = settings.data or data.source, settings.fit or data.fit
        data = dataclasses.replace(data, source=source, fit=fit)
        if settings.data is not None and settings.fit is None:
            data = dataclasses.replace(data, image_size=None, channels=None)
        try:
            dataset = dataset_of(data)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; give --data, where it is") from None
        shape = dataset.train.shape[1:]
        if shape != self.trained.parts.shape:
            raise ValueError(
                f"the images of {source} are {shape} and the model's "
                f"{self.trained.parts.shape} (height, width, channels); give others, "
                "or --fit crop, which changes them"
            )
        return dataset

    @property
    def images(self) -> Images:
        """The images of the split, uint8 [N, H, W, C]."""
        images: Images = getattr(self.dataset, self.settings.split)
        return images

    @cached_property
    def extractor(self) -> Extractor:
        """Whose features are compared; read once, for all metrics.

        Raises:
          ValueError, FileNotFoundError: as `make_extractor` does.
        """
        return make_extractor(self.settings.extractor, self.settings.weights)

    @property
    def labels(self) -> np.ndarray | None:
        """The classes [N] of the images, where the model is to be told of them.

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

    @property
    def rows(self) -> np.ndarray:
        """The numbers of the images that are measured: --num of the split, shuffled.

        Raises:
          ValueError: if there are not so many.
        """
        count, num = len(self.images), self.settings.num
        if num is not None and num > count:
            raise ValueError(
                f"--num is {num}, and the {self.settings.split} split of the data has "
                f"{count} images; give at most {count}, or another --data"
            )
        # A smaller --num takes the first of a larger one's, and not of one class alone.
        return permutation(0, 0, count)[:num]

    def data_protocol(self) -> dict[str, Any]:
        """Which images these are: for the protocol of a metric that reads them."""
        settings = self.settings
        return {
            "data": settings.data or self.trained.config.data.source,
            "fit": settings.fit or self.trained.config.data.fit,
            "split": settings.split,
            "images in the split": len(self.images),
            "crc32 of 64 of them": crc32_of_some(self.images),
        }

    def model_protocol(self) -> dict[str, Any]:
        """What a model is told beside x_t and t, where it is trained for more."""
        told = {}
        if self.labels is not None:
            told["label"] = "each image's own"
        if self.trained.parts.objective.self_condition:
            told["guess of x_0"] = "none"
        return told


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
    """What a metric found, and the files that it wrote."""

    numbers: list[Number]
    files: list[Path]


class Metric(NamedTuple):
    """The functions of a metric."""

    protocol: Callable[[Task], dict[str, Any]]
    measure: Callable[[Task], Measured]
    label: Callable[[Task], str] | None = None
    """The name of its record; None: its name on the command line."""
