"""Arrays that a name determines on every machine: what both sides of a fixture use."""

import zlib

import numpy as np

PROBES = 100


def seeded(name: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Float64 numbers of shape, uniform in [low, high).

    NumPy promises the words of Philox, and not what its distributions make of them.
    """
    key = zlib.crc32(name.encode())
    words = np.random.Philox(key=key).random_raw(int(np.prod(shape)))
    return low + (high - low) * (words.reshape(shape) >> np.uint64(11)) * 2.0**-53


def seeded_images(name: str, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Images uint8 [B, H, W, C] of coarse and of fine structure."""
    count, height, width, channels = shape
    coarse = seeded(f"{name}/coarse", (count, 4, 4, channels), 0, 128)
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
    fine = seeded(f"{name}/fine", shape, 0, 128)
    return (coarse[:, rows][:, :, columns] + fine).astype(np.uint8)


def seeded_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of Inception's state dict; activations keep their size on the way."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    scale = (6 / max(1, np.prod(shape[1:]))) ** 0.5  # He et al. (2015)
    bounds = {
        "running_mean": (-0.2, 0.2),
        "running_var": (0.5, 2.0),
        "bias": (-0.2, 0.4),
        "weight": (-scale, scale) if len(shape) > 1 else (0.8, 1.6),
    }
    low, high = bounds[name.rpartition(".")[2]]
    return seeded(name, shape, low, high).astype(np.float32)


def seeded_features() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features [300, 16] of samples and [250, 16] of a reference, logits [300, 10]."""
    mix = seeded("mix", (16, 16), -1, 1)
    features = seeded("features", (300, 16), -1, 1.2) @ mix
    reference = seeded("reference", (250, 16), -1, 1) @ mix
    return features, reference, seeded("logits", (300, 10), -4, 4)


def probes(name: str, x: np.ndarray) -> np.ndarray:
    """Some of the numbers of x, and which ones the name determines."""
    places = seeded(f"probes/{name}", (PROBES,), 0, x.size).astype(int)
    return x.ravel()[places]
