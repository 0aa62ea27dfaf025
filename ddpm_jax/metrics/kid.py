"""The kernel distance of two sets of features: KID, of Binkowski et al. (2018).

The maximum mean discrepancy with the kernel k(x, y) = (x.y / D + 1)^3. Its estimate is
unbiased, so that few samples do not make it larger, as they do FID: it is 0 in the mean
for samples of one distribution, and now and then below 0.
"""

import numpy as np

from ddpm_jax.meter import Progress

# torch-fidelity's, so that the same features give the same number.
SEED = 2020


def squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate of MMD^2 from features [m, D] and [n, D], m and n > 1.

    Binkowski et al., "Demystifying MMD GANs" (2018).

    Example:
      >>> squared_mmd(np.array([[0.0], [2.0]]), np.array([[0.0], [1.0]]))
      -13.0
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    within = sum(
        (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))
        for kernel in (_kernel(x, x), _kernel(y, y))
    )
    return float(within - 2 * _kernel(x, y).mean())


def kernel_distance(
    features: np.ndarray,
    reference: np.ndarray,
    *,
    num_subsets: int = 100,
    subset_size: int = 1000,
    seed: int = SEED,
    progress: Progress = iter,
) -> tuple[float, float]:
    """The mean of MMD^2 over random subsets of features [N, D] and [M, D], and its std.

    Features may lie on disk; only subsets are read. The subsets of a seed are those of
    torch-fidelity. progress goes through a sequence and may show how far it is.

    Raises:
      ValueError: if there are fewer features than subset_size.

    Example:
      >>> x = np.random.default_rng(0).normal(size=(50, 3))
      >>> mean, std = kernel_distance(x, x + 2, num_subsets=5, subset_size=20)
      >>> mean > std > 0
      True
    """
    least = min(len(features), len(reference))
    if not 2 <= subset_size <= least:
        raise ValueError(
            f"subsets of {subset_size} cannot be drawn from {len(features)} and "
            f"{len(reference)} features: use 2 to {least}"
        )
    # The old generator, whose words NumPy promises not to change either.
    random = np.random.RandomState(seed)  # noqa: NPY002
    distances = []
    for _ in progress(range(num_subsets)):
        x = features[random.choice(len(features), subset_size, replace=False)]
        y = reference[random.choice(len(reference), subset_size, replace=False)]
        distances.append(squared_mmd(x, y))
    return float(np.mean(distances)), float(np.std(distances))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)
