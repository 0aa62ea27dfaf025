"""The Inception Score of Salimans et al. (2016), Sec. 4, with any classifier's logits.

exp of the mean of KL(p(y|x) || p(y)): how far what is seen on one image is from what is
seen on all. Between 1 and the number of classes; it knows of no reference images.
"""

import numpy as np

# torch-fidelity's, so that the same logits give the same number.
SEED = 2020


def inception_score(
    logits: np.ndarray, *, num_splits: int = 10, seed: int = SEED
) -> tuple[float, float]:
    """The mean of the scores of num_splits parts of logits [N, classes], and its std.

    The images are shuffled by the seed, as torch-fidelity does. Logits may lie on disk;
    one part of them at a time is in memory.

    Raises:
      ValueError: if there are fewer images than parts.

    Example:
      >>> mean, std = inception_score(1e3 * np.eye(4)[np.arange(80) % 4], num_splits=1)
      >>> round(mean, 6), std
      (4.0, 0.0)
    """
    count = len(logits)
    if not 1 <= num_splits <= count:
        raise ValueError(f"{count} images cannot be divided into {num_splits} parts")
    # The old generator, whose words NumPy promises not to change either.
    order = np.random.RandomState(seed).permutation(count)  # noqa: NPY002
    edges = np.arange(num_splits + 1) * count // num_splits
    scores = [
        _score(np.asarray(logits[order[start:stop]], np.float64))
        for start, stop in zip(edges[:-1], edges[1:], strict=True)
    ]
    return float(np.mean(scores)), float(np.std(scores))


def _score(logits: np.ndarray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    mean = p.mean(axis=0)
    # A class that no image has adds nothing.
    entropy = -np.sum(mean * np.log(np.where(mean > 0, mean, 1)))
    return float(np.exp((p * log_p).sum(axis=1).mean() + entropy))
