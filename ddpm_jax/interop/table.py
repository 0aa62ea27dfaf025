"""Sorted tables in LevelDB's format, in which TensorFlow keeps an index.

A table is blocks of entries whose keys leave out what they share with the key before,
then a block that says where these are, then a footer that says where that is. Each
block has a checksum.
"""

import struct
from collections.abc import Iterator

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
LONGEST_KEY = 4096
"""Bytes of a name: as each may repeat the one before, a small file could hold many."""
LONGEST_NUMBER = 10
"""Bytes of a number: one as long as a file would take the square of that to read."""


def read_table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a table in LevelDB's format, in the order of their keys."""
    if len(data) < FOOTER or struct.unpack("<Q", data[-8:])[0] != MAGIC:
        raise ValueError("it does not end as such a file does; it may be cut short")
    place = len(data) - FOOTER
    for _ in range(2):  # of the block about the file, and of that size
        _, place = varint(data, place)
    start, place = varint(data, place)
    size, _ = varint(data, place)
    read = 0  # the blocks before end here; else one could be read again and again
    for _, handle in read_block(data, start, size):
        start, place = varint(handle, 0)
        size, _ = varint(handle, place)
        if start < read:
            raise ValueError("its blocks do not follow one another")
        read = start + size
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
        if shared + own > LONGEST_KEY:
            raise ValueError(f"a name in it is longer than {LONGEST_KEY} bytes")
        key = key[:shared] + data[place : place + own]
        place += own + length
        yield key, data[place - length : place]


def _word(data: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])


def varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the lowest first, and the place behind it.

    Raises:
      ValueError: if it has more than 64 bits, as no such file has.

    Example:
      >>> varint(bytes([0xAC, 0x02]), 0)
      (300, 2)
    """
    value = 0
    for i in range(LONGEST_NUMBER):
        byte = data[place + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, place + i + 1
    raise ValueError("a number in it is too long; it is damaged")


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
