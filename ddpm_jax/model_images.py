"""The images that a trained model is compared with: those of its run, or others."""

import dataclasses
from pathlib import Path

from ddpm_jax.config import Fit
from ddpm_jax.config import dataset_of
from ddpm_jax.data import Dataset
from ddpm_jax.data import Images
from ddpm_jax.data.sources import read_images
from ddpm_jax.loading import Trained


def images_of(trained: Trained, source: str | None, fit: Fit | None = None) -> Dataset:
    """The images of the model's run, or of another source, in the model's size.

    Those of another source are changed in size and channels as fit says, and refused
    if it says nothing.

    Raises:
      FileNotFoundError, ValueError: if they can't be had, or are of another size.
    """
    data = trained.config.data
    if source is not None and fit is None:
        data = dataclasses.replace(data, image_size=None, channels=None)
    data = dataclasses.replace(data, source=source or data.source, fit=fit or data.fit)
    try:
        dataset = dataset_of(data)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; give --data, where it is") from None
    shape = dataset.train.shape[1:]
    if shape != trained.parts.shape:
        raise ValueError(
            f"the images of {data.source} are {shape} and the model's "
            f"{trained.parts.shape} (height, width, channels); give others, or --fit "
            "crop, which changes them"
        )
    return dataset


def samples_in(path: Path, shape: tuple[int, ...]) -> Images:
    """The images of an .npz, a folder or a zip, which are to be a model's samples.

    Raises:
      FileNotFoundError, ValueError: if there are none of the shape (H, W, C). Gray ones
        do for a model in colour, and not the other way round.
    """
    gray = shape[-1] == 1
    images = read_images(path, None if gray else shape[-1])
    if images.shape[1:] != shape:
        raise ValueError(
            f"the images of {path} are {images.shape[1:]} and the model's {shape} "
            "(height, width, channels); give samples of this model"
        )
    return images
