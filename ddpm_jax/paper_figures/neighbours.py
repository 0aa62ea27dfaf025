"""The figure of nearest neighbours: Figures 12 and 15 of Ho et al. (2020)."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ddpm_jax.boards import save_board
from ddpm_jax.data import Dataset
from ddpm_jax.data import Images
from ddpm_jax.files import replacing
from ddpm_jax.image_features import FeatureFn
from ddpm_jax.neighbours import Neighbours
from ddpm_jax.neighbours import nearest

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
    with replacing(out / "neighbours.csv") as file:
        file.write(table(found).encode())
    some = dataset.held_out[np.arange(min(len(dataset.held_out), 256))]
    usual = np.median(search(some, dataset.train, features, 1).distance)
    print(
        f"distance to the nearest of {len(dataset.train)} training images, median: "
        f"{np.median(found.distance[:, 0]):.4g} of {len(samples)} samples, "
        f"{usual:.4g} of {len(some)} held-out images"
    )
    return [board, out / "neighbours.csv"]


def search(
    queries: np.ndarray, images: Images, features: FeatureFn, k: int
) -> Neighbours:
    """The k images nearest to each of the queries, by their features."""
    return nearest(features(queries), map(features, blocks(images)), k)


def blocks(images: Images) -> Iterator[np.ndarray]:
    """Yields all images, in order, a block at a time."""
    for start in range(0, len(images), BLOCK):
        yield images[np.arange(start, min(start + BLOCK, len(images)))]


def table(found: Neighbours) -> str:
    """What was found, as CSV.

    Example:
      >>> print(table(Neighbours(np.array([[7]]), np.array([[0.5]]))), end="")
      sample,rank,training_image,distance
      0,1,7,0.5
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "rank", "training_image", "distance"])
    for (sample, rank), index in np.ndenumerate(found.rows):
        distance = found.distance[sample, rank]
        writer.writerow([sample, rank + 1, index, f"{distance:.6g}"])
    return text.getvalue()


def read_samples(path: Path, num: int, shape: tuple[int, ...]) -> np.ndarray:
    """The first num images of a samples.npz: uint8 [n, H, W, C].

    Raises:
      ValueError: unless it holds at least one image of the shape.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            samples = np.asarray(file["arr_0"])
    except (KeyError, ValueError, AttributeError, EOFError) as error:
        raise ValueError(
            f"{path} can't be read as samples.npz of sample.py: {error}"
        ) from None
    if samples.dtype != np.uint8 or samples.shape[1:] != shape or not len(samples):
        raise ValueError(
            f"{path} holds {samples.dtype} {samples.shape}; give uint8 images of "
            f"{shape}, as sample.py writes them"
        )
    return samples[:num]
