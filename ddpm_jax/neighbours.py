"""Nearest neighbours: is an image drawn, or remembered?

As Figures 12 and 15 of Ho et al. (2020): the training images that are nearest to a
sample, by pixels or by what another network says of them. All is float64, since the
distances of near duplicates are differences of large numbers.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

# Of |a|^2 + |b|^2: what rounding may add to a squared distance, of equal rows say.
ROUNDING = 1e-13


class Neighbours(NamedTuple):
    """The k nearest rows to each of Q queries, the nearest first."""

    rows: np.ndarray  # int [Q, k]
    distance: np.ndarray  # float64 [Q, k], Euclidean


def nearest(queries: np.ndarray, blocks: Iterable[np.ndarray], k: int) -> Neighbours:
    """Finds the k rows of all blocks that are nearest to each of the queries [Q, D].

    Blocks [n, D] are looked at one by one and counted through, so that a data set of
    any size needs the memory of a block. Of equal distances the lower index is nearer.

    Raises:
      ValueError: if there are less than k rows, or they are not D wide.

    Example:
      >>> blocks = [np.array([[0.0], [5.0]]), np.array([[2.0]])]
      >>> found = nearest(np.array([[1.8]]), blocks, k=2)
      >>> found.rows.tolist(), found.distance.round(6).tolist()
      ([[2, 0]], [[0.2, 1.8]])
    """
    if k < 1:
        raise ValueError(f"k is {k}; give at least 1")
    queries = queries.astype(np.float64)
    index = np.zeros((len(queries), 0), np.int64)
    square = np.zeros((len(queries), 0))
    start = 0
    for block in blocks:
        if block.shape[1:] != queries.shape[1:]:
            raise ValueError(
                f"rows of {block.shape[1:]} features can't be compared with queries of "
                f"{queries.shape[1:]}"
            )
        rows = np.arange(start, start + len(block))
        index = np.concatenate([index, np.tile(rows, (len(queries), 1))], axis=1)
        square = np.concatenate([square, squares(queries, block)], axis=1)
        best = np.argsort(square, axis=1, kind="stable")[:, :k]
        index = np.take_along_axis(index, best, axis=1)
        square = np.take_along_axis(square, best, axis=1)
        start += len(block)
    if start < k:
        raise ValueError(f"there are {start} rows and {k} neighbours are asked for")
    return Neighbours(index, np.sqrt(square))


def squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances [n, m] of rows [n, D] and [m, D], in float64.

    Those that are no more than rounding are 0.

    Example:
      >>> squares(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
      [[25.0]]
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    sums = (a**2).sum(1)[:, None] + (b**2).sum(1)[None]
    squared = sums - 2 * a @ b.T
    return np.where(squared < ROUNDING * sums, 0.0, squared)


def central(images: np.ndarray, share: float) -> np.ndarray:
    """The middle of images [N, H, W, C], share of either side.

    The paper compares faces, without what is around them, in Figure 12.

    Example:
      >>> central(np.arange(16).reshape(1, 4, 4, 1), 0.5)[..., 0].tolist()
      [[[5, 6], [9, 10]]]
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share is {share}; give a number above 0, at most 1")
    _, height, width, _ = images.shape
    sides = [max(1, round(side * share)) for side in (height, width)]
    top, left = (height - sides[0]) // 2, (width - sides[1]) // 2
    return images[:, top : top + sides[0], left : left + sides[1]]
