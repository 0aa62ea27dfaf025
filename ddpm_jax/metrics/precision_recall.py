"""How real samples are, and how much of the real images they cover.

Kynkaanniemi et al., "Improved precision and recall metric for assessing generative
models" (2019): each set of features stands for the union of the balls around its
points, each ball as large as the distance to the k-th neighbour. Precision is the share
of samples within the balls of the reference, recall the reverse.
"""

from collections.abc import Iterator

import numpy as np

# Rows of distances at a time: 100 MB for 50,000 features.
BLOCK = 256
# Of |x|^2 + |y|^2: what rounding may add to a squared distance, of equal points say.
ROUNDING = 1e-13


def precision_recall(
    features: np.ndarray, reference: np.ndarray, *, k: int = 3
) -> tuple[float, float]:
    """Precision and recall of features [N, D] of samples against those of real images.

    Features may lie on disk: a few hundred rows of distances are in memory.

    Raises:
      ValueError: unless both sets have more than k features.

    Example:
      >>> x = np.arange(10.0)[:, None]
      >>> precision_recall(x[:5], x)
      (1.0, 0.8)
    """
    least = min(len(features), len(reference))
    if not 1 <= k < least:
        raise ValueError(f"the neighbour k = {k} must be 1 to {least - 1}, of {least}")
    # Distances do not change, and less of them cancels.
    centre = np.asarray(np.mean(reference, axis=0, dtype=np.float64))
    precision = _share_within(features, reference, _radii(reference, k, centre), centre)
    recall = _share_within(reference, features, _radii(features, k, centre), centre)
    return precision, recall


def _radii(x: np.ndarray, k: int, centre: np.ndarray) -> np.ndarray:
    """Squared distances [N] to the k-th neighbour, the point itself not counted."""
    rows = (np.partition(d, k, axis=1)[:, k] for d in _distances(x, x, centre))
    return np.concatenate(list(rows))


def _share_within(
    x: np.ndarray, centres: np.ndarray, radii: np.ndarray, centre: np.ndarray
) -> float:
    """Which share of x [N, D] lies in a ball, the border included."""
    inside = ((d <= radii).any(axis=1) for d in _distances(x, centres, centre))
    return float(np.concatenate(list(inside)).mean())


def _distances(
    x: np.ndarray, y: np.ndarray, centre: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields squared distances [n, len(y)] of BLOCK rows of x at a time, in float64.

    Those that are no more than rounding are 0.
    """
    for rows in _slices(len(x), BLOCK):
        a = np.asarray(x[rows], np.float64) - centre
        squares_a = np.square(a).sum(axis=1)
        block = np.empty((len(a), len(y)))
        for columns in _slices(len(y), 8 * BLOCK):
            b = np.asarray(y[columns], np.float64) - centre
            sums = squares_a[:, None] + np.square(b).sum(axis=1)
            squared = sums - 2 * a @ b.T
            block[:, columns] = np.where(squared < ROUNDING * sums, 0, squared)
        yield block


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
