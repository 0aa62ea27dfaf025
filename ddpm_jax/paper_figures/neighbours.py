"""The figure of nearest neighbours: Figures 12 and 15 of Ho et al. (2020)."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ddpm_jax.data import Dataset
from ddpm_jax.data import Images
from ddpm_jax.meter import image_bar
from ddpm_jax.model_images import samples_in
from ddpm_jax.neighbours import Neighbours
from ddpm_jax.neighbours import nearest
from ddpm_jax.paper_figures.boards import save_board
from ddpm_jax.paper_figures.features import FeatureFn
from ddpm_jax.paper_figures.kinds import evenly
from ddpm_jax.tables import write_csv

BLOCK, NUMBERS = 1024, 2**24
"""Images of the data set that are in memory at a time, and their pixels: at most."""
HELD_OUT = 256
"""Held-out images that samples are compared with."""


def write_neighbours(
    stem: Path, samples: np.ndarray, dataset: Dataset, *, features: FeatureFn, k: int
) -> list[Path]:
    """Writes the k training images nearest to each of uint8 samples [N, H, W, C].

    stem.png has a row for each sample, on the left; stem.csv the numbers of the images
    and their distances. Prints how near held-out images are in comparison, which were
    surely not remembered.
    """
    others = dataset.held_out[evenly(len(dataset.held_out), HELD_OUT)]
    queries = np.concatenate([samples, others])
    both = search(queries, dataset.train, features, k)
    found = Neighbours(*(x[: len(samples)] for x in both))
    columns = dataset.train[found.rows.ravel()].reshape(*found.rows.shape, -1)
    columns = columns.reshape(*found.rows.shape, *samples.shape[1:])
    board = save_board(
        stem.with_name(f"{stem.name}.png"),
        np.concatenate([samples[:, None], columns], axis=1),
        above=["sample", "nearest", *(f"{n}." for n in range(2, k + 1))],
    )
    written = write_csv(stem.with_name(f"{stem.name}.csv"), columns_of(found))
    drawn, unseen = np.split(both.distance[:, 0], [len(samples)])
    print(
        f"distance to the nearest of {len(dataset.train)} training images, median: "
        f"{np.median(drawn):.4g} of {len(drawn)} samples, "
        f"{np.median(unseen):.4g} of {len(unseen)} held-out images"
    )
    return [board, written]


def search(
    queries: np.ndarray, images: Images, features: FeatureFn, k: int
) -> Neighbours:
    """The k images nearest to each of the queries, by their features."""
    return nearest(features(queries), map(features, blocks(images)), k)


def blocks(images: Images) -> Iterator[np.ndarray]:
    """Yields all images, in order, a block at a time, and shows how far it is."""
    count, size = len(images), block_size(images.shape[1:])
    with image_bar(count, 0) as bar:
        for start in range(0, count, size):
            block = images[np.arange(start, min(start + size, count))]
            yield block
            bar.update(len(block))


def block_size(shape: tuple[int, ...]) -> int:
    """How many images of a shape (H, W, C) make a block.

    Example:
      >>> block_size((32, 32, 3)), block_size((256, 256, 3))
      (1024, 85)
    """
    return max(1, min(BLOCK, NUMBERS // math.prod(shape)))


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


def read_samples(
    path: Path, num: int | None, shape: tuple[int, ...], most: int
) -> np.ndarray:
    """The first num images of an .npz, a folder or a zip: uint8 [num, H, W, C].

    If num is None, they are most, or as many as there are.

    Raises:
      ValueError, FileNotFoundError: unless it holds so many images of the shape.
    """
    images = samples_in(path, shape)
    if num is None:
        num = min(most, len(images))
    if num > len(images):
        raise ValueError(
            f"--num is {num}, and {path} holds {len(images)} images; give at most "
            f"{len(images)}"
        )
    return images[np.arange(num)]
