"""The figure of nearest neighbours: Figures 12 and 15 of Ho et al. (2020)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ddpm_jax.data import Dataset
from ddpm_jax.data import Images
from ddpm_jax.data import read_images
from ddpm_jax.neighbours import Neighbours
from ddpm_jax.neighbours import nearest
from ddpm_jax.paper_figures.boards import save_board
from ddpm_jax.paper_figures.features import FeatureFn
from ddpm_jax.tables import write_csv

BLOCK = 1024
"""Images of the data set that are in memory at a time."""


def write_neighbours(
    out: Path, samples: np.ndarray, dataset: Dataset, *, features: FeatureFn, k: int
) -> list[Path]:
    """Writes the k training images nearest to each of uint8 samples [N, H, W, C].

    out/neighbours.png has a row for each sample, on the left; out/neighbours.csv the
    numbers of the images and their distances. Prints how near held-out images are in
    comparison, which were surely not remembered.
    """
    found = search(samples, dataset.train, features, k)
    columns = dataset.train[found.rows.ravel()].reshape(*found.rows.shape, -1)
    columns = columns.reshape(*found.rows.shape, *samples.shape[1:])
    board = save_board(
        out / "neighbours.png",
        np.concatenate([samples[:, None], columns], axis=1),
        above=["sample", "nearest", *(f"{n}." for n in range(2, k + 1))],
    )
    written = write_csv(out / "neighbours.csv", columns_of(found))
    some = dataset.held_out[np.arange(min(len(dataset.held_out), 256))]
    usual = np.median(search(some, dataset.train, features, 1).distance)
    print(
        f"distance to the nearest of {len(dataset.train)} training images, median: "
        f"{np.median(found.distance[:, 0]):.4g} of {len(samples)} samples, "
        f"{usual:.4g} of {len(some)} held-out images"
    )
    return [board, written]


def search(
    queries: np.ndarray, images: Images, features: FeatureFn, k: int
) -> Neighbours:
    """The k images nearest to each of the queries, by their features."""
    return nearest(features(queries), map(features, blocks(images)), k)


def blocks(images: Images) -> Iterator[np.ndarray]:
    """Yields all images, in order, a block at a time."""
    for start in range(0, len(images), BLOCK):
        yield images[np.arange(start, min(start + BLOCK, len(images)))]


def columns_of(found: Neighbours) -> dict[str, np.ndarray]:
    """What was found, as the columns of a table.

    Example:
      >>> columns = columns_of(Neighbours(np.array([[7]]), np.array([[0.5]])))
      >>> {name: column.tolist() for name, column in columns.items()}
      {'sample': [0], 'rank': [1], 'training_image': [7], 'distance': [0.5]}
    """
    sample, rank = np.indices(found.rows.shape)
    return {
        "sample": sample.ravel(),
        "rank": rank.ravel() + 1,
        "training_image": found.rows.ravel(),
        "distance": found.distance.ravel(),
    }


def read_samples(path: Path, num: int, shape: tuple[int, ...]) -> np.ndarray:
    """The first num images of an .npz, a folder or a zip: uint8 [n, H, W, C].

    Raises:
      ValueError, FileNotFoundError: unless it holds images of the shape.
    """
    images = read_images(path, shape[-1])
    if images.shape[1:] != shape:
        raise ValueError(
            f"the images of {path} are {images.shape[1:]} and the model's {shape} "
            "(height, width, channels); give samples of this model"
        )
    return images[np.arange(min(num, len(images)))]
