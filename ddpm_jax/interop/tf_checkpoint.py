"""Checkpoints of TensorFlow's Saver, read without TensorFlow: the V2 format.

MODEL.index is a sorted table in LevelDB's format, from the name of a variable to where
its numbers lie in MODEL.data-00000-of-00001. A table is blocks of entries whose keys
leave out what they share with the key before, then a block that says where these are,
then a footer that says where that is. The values are protocol buffers, of which a few
fields are needed.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from typing import NamedTuple

import ml_dtypes
import numpy as np

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
DTYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype(np.float32),
    2: np.dtype(np.float64),
    3: np.dtype(np.int32),
    9: np.dtype(np.int64),
    14: np.dtype(ml_dtypes.bfloat16),
    19: np.dtype(np.float16),
}
"""TensorFlow's numbers for the types that a variable of this network may have."""


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
        table = dict(read_table(index.read_bytes()))
        header = fields(table.pop(b""))
        entries = {name.decode(): entry_of(value) for name, value in table.items()}
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        reason = str(error) if type(error) is ValueError else "it is damaged"
        raise ValueError(f"{index} is no index of a checkpoint: {reason}") from None
    if header.get(2, 0) != 0:
        raise ValueError(f"{index} says that its numbers are big-endian, which is rare")
    shards = header.get(1, 1)
    files = [Path(f"{prefix}.data-{i:05d}-of-{shards:05d}") for i in range(shards)]
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}, which {index} needs")
    data = [path.read_bytes() for path in files]
    return {name: variable(name, entry, data, files) for name, entry in entries.items()}


def variable(
    name: str, entry: Entry, data: list[bytes], files: list[Path]
) -> np.ndarray:
    """The numbers of a variable, as a view of the bytes of its file."""
    if entry.dtype not in DTYPES or not 0 <= entry.shard < len(data):
        raise ValueError(
            f"{name} has type {entry.dtype} and file {entry.shard} in {files[0]}; this "
            "project reads arrays of numbers"
        )
    dtype, count = DTYPES[entry.dtype], int(np.prod(entry.shape))
    if count * dtype.itemsize != entry.size:
        raise ValueError(
            f"{name} in {files[entry.shard]} has shape {entry.shape} in {entry.size} "
            "bytes, which do not go together"
        )
    if entry.offset + entry.size > len(data[entry.shard]):
        raise ValueError(
            f"{files[entry.shard]} is cut short: {name} lies behind its end"
        )
    row = np.frombuffer(data[entry.shard], dtype, count, entry.offset)
    return row.reshape(entry.shape)


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a table in LevelDB's format, in the order of their keys."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("it does not end as such a file does; it may be cut short")
    place = len(data) - FOOTER
    for _ in range(2):  # of the block about the file, and of that size
        _, place = varint(data, place)
    start, place = varint(data, place)
    size, _ = varint(data, place)
    for _, handle in read_block(data, start, size):
        start, place = varint(handle, 0)
        size, _ = varint(handle, place)
        yield from read_block(data, start, size)


def read_block(data: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a block."""
    stop = start + size
    if data[stop] != 0:
        raise ValueError("it is compressed, which TensorFlow never does")
    if masked_crc32c(data[start : stop + 1]) != _word(data, stop + 1):
        raise ValueError("the checksum of a block is another; it is damaged")
    stop -= 4 * (_word(data, stop - 4) + 1)  # where keys are whole, for a search
    key, place = b"", start
    while place < stop:
        shared, place = varint(data, place)
        own, place = varint(data, place)
        length, place = varint(data, place)
        key = key[:shared] + data[place : place + own]
        place += own + length
        yield key, data[place - length : place]


def _word(data: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and the place behind it.

    Example:
      >>> varint(bytes([0xAC, 0x02]), 0)
      (300, 2)
    """
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def fields(message: bytes) -> dict[int, Any]:
    """The fields of a protocol buffer by number; of a repeated one, a list.

    Example:
      >>> fields(bytes([0x08, 0x96, 0x01, 0x12, 0x01, 0x41]))
      {1: 150, 2: [b'A']}
    """
    found: dict[int, Any] = {}
    place = 0
    while place < len(message):
        tag, place = varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            found[number], place = varint(message, place)
        elif kind == 2:
            size, place = varint(message, place)
            found.setdefault(number, []).append(message[place : place + size])
            place += size
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError("an entry is no protocol buffer")
    return found


def entry_of(message: bytes) -> Entry:
    """A BundleEntryProto."""
    entry = fields(message)
    if 7 in entry:
        raise ValueError("a variable is stored in slices, which is not read here")
    shape = fields(entry[2][0]) if 2 in entry else {}
    sizes = tuple(fields(dim).get(1, 0) for dim in shape.get(2, []))
    numbers = [entry.get(number, 0) for number in (3, 4, 5)]
    return Entry(entry[1], sizes, *numbers)


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The CRC-32C of bytes.

    Example:
      >>> hex(crc32c(b"123456789"))  # the check value of its standard
      '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[crc & 0xFF ^ byte] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    """The checksum of a block, turned and shifted so that it has another itself."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
