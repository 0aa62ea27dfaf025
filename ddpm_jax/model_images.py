"""The images that a trained model is compared with: those of its run, or others."""

import dataclasses

from ddpm_jax.config import Fit
from ddpm_jax.config import dataset_of
from ddpm_jax.data import Dataset
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
