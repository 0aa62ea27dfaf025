"""Which samples are measured, and against which images: the sources of features.

Samples are drawn by a chain of the model, or read from a file or a folder. The images
of reference are a split of the data set, or the statistics of one, in a file.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import Literal

import numpy as np

from ddpm_jax.chains import remarks
from ddpm_jax.data import Images
from ddpm_jax.data import crc32_of_some
from ddpm_jax.data import read_images
from ddpm_jax.data.dataset import Subset
from ddpm_jax.evaluation.feature_rows import Source
from ddpm_jax.evaluation.task import Task
from ddpm_jax.sampling import compile_sampler

NUM_SAMPLES = 50_000
SPLITS = ("train", "held_out")

Split = Literal["held_out", "train"]

Described = tuple[dict[str, Any], Source]
"""What a protocol says of some images, and the images."""


def samples_of(task: Task) -> Described:
    """The samples that the options name, drawn or read.

    Raises:
      ValueError, FileNotFoundError: if there are no such samples to read.
    """
    settings = task.settings
    if settings.samples is not None:
        return read_samples(task, settings.samples)
    num = settings.num_samples or NUM_SAMPLES
    chain = task.chain

    def compile(size: int) -> Callable[[np.ndarray], np.ndarray]:
        return compile_sampler(
            task.trained, seed=settings.seed, batch_size=size, chain=chain
        )

    steps = chain.steps or task.trained.parts.schedule.num_timesteps
    said: dict[str, Any] = {
        "samples": num,
        "sampler": chain._replace(steps=steps)._asdict(),
        "seed": settings.seed,
        "rounding": "to the nearest of 256 values",
    }
    if found := remarks(task.trained.parts, chain):
        said["remarks"] = [line.removeprefix("remark: ") for line in found]
    return said, Source(num, task.trained.parts.shape, compile)


def read_samples(task: Task, path: Path) -> Described:
    """The first --num-samples of an .npz, a folder or a zip of images, or all.

    Raises:
      ValueError: if there are fewer, or if they have not the model's size.
    """
    shape, num = task.trained.parts.shape, task.settings.num_samples
    images = read_images(path, shape[-1])
    if num is not None and num > len(images):
        raise ValueError(
            f"--num-samples is {num}, and {path} holds {len(images)} images; give at "
            "most so many"
        )
    if images.shape[1:] != shape:
        raise ValueError(
            f"the images of {path} are {images.shape[1:]} and the model's {shape} "
            "(height, width, channels); give samples of this model"
        )
    rows = np.arange(num or len(images))
    said = {
        "samples": len(rows),
        "samples from": path.name,
        "crc32 of 64 of them": crc32_of_some(Subset(images, rows)),
    }
    return said, of_images(images, rows)


def reference_of(task: Task) -> Described:
    """The images of the split that --reference names, --num of them.

    Raises:
      ValueError: as `Task.rows` does.
    """
    # --split is of the metrics that measure images, and no samples.
    split: Split = "held_out" if task.settings.reference == "held_out" else "train"
    settings = dataclasses.replace(task.settings, split=split)
    other = dataclasses.replace(task, settings=settings)
    rows = other.rows
    return {"images": len(rows), **other.data_protocol()}, of_images(other.images, rows)


def of_images(images: Images, rows: np.ndarray) -> Source:
    """Rows of images, as a source."""

    def images_of(numbers: np.ndarray) -> np.ndarray:
        return np.asarray(images[rows[numbers]])

    return Source(len(rows), images.shape[1:], lambda size: images_of)
