"""Checkpoints of TensorFlow's Saver, read without TensorFlow: the V2 format.

MODEL.index is a sorted table in LevelDB's format, from the name of a variable to where
its numbers lie in MODEL.data-00000-of-00001. The values of the table are protocol
buffers, of which a few fields are needed.
"""

import math
import struct
from pathlib import Path
from typing import Any
from typing import NamedTuple

import ml_dtypes
import numpy as np

from ddpm_jax.interop.table import read_table
from ddpm_jax.interop.table import varint

DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    9: np.dtype(np.int64),
    14: np.dtype(ml_dtypes.bfloat16),
    19: np.dtype(np.float16),
}
"""TensorFlow's numbers for the types that a variable of this network may have."""

NPZ = "make an .npz of it, as docs/pretrained.md shows"
"""What to do about a checkpoint that is of another kind."""


class Entry(NamedTuple):
    """Where the numbers of a variable lie."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int  # in bytes


def read_tf_checkpoint(prefix: str | Path) -> dict[str, np.ndarray]:
    """The variables of a checkpoint by name, those of the optimiser as well.

    prefix is the path without .index.

    Raises:
      FileNotFoundError, ValueError: one sentence, if a file is missing, cut short or
        damaged, or a variable is no array of numbers.
    """
    index = Path(f"{prefix}.index")
    if not index.is_file():
        raise FileNotFoundError(f"there is no file {index}")
    try:
        rows = list(read_table(index.read_bytes()))
        table = dict(rows)
        if len(table) < len(rows):
            raise ValueError("two of its variables have one name")
        header = fields(table.pop(b""))
        shards = numbers_of(header, 1)[0] or 1
        entries = {name.decode(): entry_of(value) for name, value in table.items()}
    except (IndexError, KeyError, ValueError, struct.error) as error:
        reason = str(error) if type(error) is ValueError else "it is damaged"
        raise ValueError(
            f"{index} is no index of a checkpoint that is read here: {reason}; get it "
            f"again, or {NPZ}"
        ) from None
    if header.get(2, 0) != 0:
        raise ValueError(f"{index} says that its numbers are big-endian; {NPZ}")
    files: list[Path] = []
    data: list[np.ndarray] = []
    for i in range(shards):
        path = Path(f"{prefix}.data-{i:05d}-of-{shards:05d}")
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no file {path}, which {index} needs; get it as well"
            )
        files.append(path)
        # Not read: the half of it that is the optimiser's is never looked at.
        empty = path.stat().st_size == 0
        data.append(np.empty(0, np.uint8) if empty else np.memmap(path, mode="r"))
    return {name: variable(name, entry, data, files) for name, entry in entries.items()}


def variable(
    name: str, entry: Entry, data: list[np.ndarray], files: list[Path]
) -> np.ndarray:
    """The numbers of a variable, as a view of the bytes of its file."""
    if entry.dtype not in DTYPES or not 0 <= entry.shard < len(data):
        raise ValueError(
            f"{name} has type {entry.dtype} and file {entry.shard} in {files[0]}, and "
            f"this project reads arrays of numbers; {NPZ}"
        )
    dtype, count = DTYPES[entry.dtype], math.prod(entry.shape)
    if count * dtype.itemsize != entry.size or max(entry.shape, default=0) >= 2**31:
        raise ValueError(
            f"{name} in {files[entry.shard]} has shape {entry.shape} in {entry.size} "
            "bytes, which do not go together; get its files again"
        )
    if entry.offset + entry.size > len(data[entry.shard]):
        raise ValueError(
            f"{files[entry.shard]} is cut short, as {name} lies behind its end; get it "
            "again"
        )
    row = data[entry.shard][entry.offset : entry.offset + entry.size]
    return np.frombuffer(row, dtype).reshape(entry.shape)


Fields = dict[int, Any]
"""A protocol buffer: by the number of a field an int, or a list of byte strings."""


def fields(message: bytes) -> Fields:
    """The fields of a protocol buffer, but for those of 4 and 8 bytes.

    Example:
      >>> fields(bytes([0x08, 0x96, 0x01, 0x12, 0x01, 0x41]))
      {1: 150, 2: [b'A']}
    """
    found: Fields = {}
    place = 0
    while place < len(message):
        tag, place = varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            found[number], place = varint(message, place)
        elif kind == 2:
            size, place = varint(message, place)
            found[number] = [*parts(found, number), message[place : place + size]]
            place += size
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError("an entry is no protocol buffer")
    return found


def numbers_of(message: Fields, *places: int) -> list[int]:
    """The numbers in some fields, 0 where one is absent.

    Raises:
      ValueError: if a field is no number.
    """
    values = [message.get(field, 0) for field in places]
    if not all(isinstance(value, int) for value in values):
        raise ValueError("an entry is no protocol buffer")
    return [int(value) for value in values]


def entry_of(message: bytes) -> Entry:
    """A BundleEntryProto."""
    entry = fields(message)
    if 7 in entry:
        raise ValueError("a variable is stored in slices, which is not read here")
    dtype, shard, offset, size = numbers_of(entry, 1, 3, 4, 5)
    dims = [dim for shape in parts(entry, 2) for dim in parts(fields(shape), 2)]
    sizes = tuple(numbers_of(fields(dim), 1)[0] for dim in dims)
    return Entry(dtype, sizes, shard, offset, size)


def parts(message: Fields, field: int) -> list[bytes]:
    """The byte strings of a field, none if it is absent."""
    value = message.get(field, [])
    if not isinstance(value, list):
        raise ValueError("an entry is no protocol buffer")
    return value
