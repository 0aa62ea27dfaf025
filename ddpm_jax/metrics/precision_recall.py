"""How real samples are, and how much of the real images they cover.

Kynkaanniemi et al., "Improved precision and recall metric for assessing generative
models" (2019): each set of features stands for the union of the balls around its
points, each ball as large as the distance to the k-th neighbour. Precision is the share
of samples within the balls of the reference, recall the reverse.

Distances are computed in tiles of BLOCK x BLOCK, each of them once: within a set the
upper triangle alone, and between the two sets for precision and recall together.
"""

from itertools import combinations_with_replacement
from itertools import product

import numpy as np

from ddpm_jax.meter import Progress
from ddpm_jax.neighbours import squares

# A tile is 32 MB, and 2,048 features of its rows as much again, twice.
BLOCK = 2048


def precision_recall(
    features: np.ndarray,
    reference: np.ndarray,
    *,
    k: int = 3,
    progress: Progress = iter,
) -> tuple[float, float]:
    """Precision and recall of features [N, D] of samples against those of real images.

    Features may lie on disk: a few blocks of rows are in memory. progress goes through
    a sequence and may show how far it is.

    Raises:
      ValueError: unless both sets have more than k features, all of them finite.

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
    if not np.isfinite(centre).all() or not np.isfinite(features).all():
        raise ValueError("there are features that are not finite numbers")
    radii_x = _radii(features, k, centre, progress)
    radii_y = _radii(reference, k, centre, progress)
    precise, covered = np.zeros(len(features), bool), np.zeros(len(reference), bool)
    tiles = list(product(_blocks(features), _blocks(reference)))
    for rows, columns in progress(tiles):
        distance = squares(features[rows] - centre, reference[columns] - centre)
        precise[rows] |= (distance <= radii_y[columns]).any(axis=1)
        covered[columns] |= (distance <= radii_x[rows, None]).any(axis=0)
    return float(precise.mean()), float(covered.mean())


def _radii(x: np.ndarray, k: int, centre: np.ndarray, progress: Progress) -> np.ndarray:
    """Squared distances [N] to the k-th neighbour, the point itself not counted."""
    least = np.full((len(x), k + 1), np.inf)
    for rows, columns in progress(list(combinations_with_replacement(_blocks(x), 2))):
        distance = squares(x[rows] - centre, x[columns] - centre)
        least[rows] = _least(least[rows], distance)
        if rows != columns:
            least[columns] = _least(least[columns], distance.T)
    return np.asarray(least.max(axis=1))


def _least(least: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The least of each row of both: [n, k] and [n, m] to [n, k]."""
    k = least.shape[1]
    both = np.concatenate([least, distance], axis=1)
    return np.partition(both, k - 1, axis=1)[:, :k]


def _blocks(x: np.ndarray) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, len(x), BLOCK)]
