"""Weights for networks of diffusers, made of a formula, so that no file holds them."""

import math
import zlib
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np


def made_up(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Float32 tensors of which none is zero or one, so that every layer counts.

    Evenly spread, as wide as an initialisation; each depends on its name alone.
    """
    return {name: _tensor(name, tuple(shape)) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(zlib.crc32(name.encode())))
    spread = 2 * rng.random(shape) - 1
    if len(shape) > 1:
        return (spread * math.sqrt(3 / math.prod(shape[1:]))).astype(np.float32)
    norm = "norm" in name and name.endswith("weight")
    return (0.2 * spread + (1 if norm else 0)).astype(np.float32)
