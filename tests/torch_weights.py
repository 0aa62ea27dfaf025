"""Weights made of a formula, so that no file holds them, and files of torch.save."""

import io
import math
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

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


def save_torch(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """A zip archive of torch.save, put together without torch."""
    program, storages = io.BytesIO(), {}
    program.write(b"\x80\x02}")
    for i, (name, array) in enumerate(tensors.items()):
        shape, strides = array.shape, tuple(s // 4 for s in array.strides)
        program.write(plain(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(")
        program.write(b"(" + plain("storage") + b"ctorch\nFloatStorage\n")
        program.write(plain(str(i)) + plain("cpu") + plain(array.size) + b"tQ")
        program.write(plain(0) + plain(shape) + plain(strides) + b"\x89NtRs")
        storages[str(i)] = array.tobytes()
    program.write(b".")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program.getvalue())
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)


def plain(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]
