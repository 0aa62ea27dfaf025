"""Checkpoints of TensorFlow's Saver: read without it, and damaged ones refused.

tests/fixtures/tensorflow holds what TensorFlow wrote, by tools/make_tf_fixtures.py.
"""

import shutil
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from ddpm_jax.interop.table import MAGIC
from ddpm_jax.interop.table import masked_crc32c
from ddpm_jax.interop.tf_checkpoint import read_tf_checkpoint

FILES = Path(__file__).parent / "fixtures" / "tensorflow"
GRID = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    for path in FILES.glob("model.ckpt*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "model.ckpt"


@pytest.mark.parametrize("name", ["model.ckpt", "sharded.ckpt"])
def test_variables_of_tensorflow_come_out_as_they_went_in(name: str) -> None:
    found = read_tf_checkpoint(FILES / name)
    wanted = {
        "model/conv_in/W": GRID,
        "model/conv_in/W/ExponentialMovingAverage": GRID + 0.5,
        "model/double": GRID.astype(np.float64),
        "model/half": GRID.astype(np.float16),
        "model/bfloat16": GRID.astype(ml_dtypes.bfloat16),
        "model/int32": GRID.astype(np.int32),
        "model/empty": np.zeros((0, 2), np.float32),
        "global_step": np.array(2**40),
        **{f"model/many_{i:03d}/b": np.full(1, i, np.float32) for i in range(200)},
    }
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype, key
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_an_index_cut_short_or_damaged_anywhere_is_refused(checkpoint: Path) -> None:
    index = Path(f"{checkpoint}.index")
    whole = index.read_bytes()
    for end in {0, 47, *range(50, len(whole), 997), len(whole) - 1}:
        index.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="is no index of a checkpoint"):
            read_tf_checkpoint(checkpoint)
    for place in range(0, len(whole), 499):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        index.write_bytes(damaged)
        if place < len(whole) - 48:  # what is not padding of the footer
            with pytest.raises(ValueError, match="is no index of a checkpoint"):
                read_tf_checkpoint(checkpoint)


def test_two_variables_of_one_name_are_refused(tmp_path: Path) -> None:
    entry = b"\x08\x01" + SHAPE + b"\x28\x30"
    write(tmp_path / "model.ckpt", {**HEADER, b"w": entry, b"v": entry})
    index = tmp_path / "model.ckpt.index"
    data = index.read_bytes()
    stop = data.index(b"\0\0\0\0\x01\0\0\0\0")  # of the entries: then the restarts
    twice = data[:stop].replace(b"\x01\x0ev", b"\x01\x0ew") + data[stop : stop + 9]
    assert twice != data[: stop + 9]
    sum_ = struct.pack("<I", masked_crc32c(twice))
    index.write_bytes(twice + sum_ + data[stop + 13 :])
    with pytest.raises(ValueError, match="two of its variables have one name; get it"):
        read_tf_checkpoint(tmp_path / "model.ckpt")


def test_numbers_that_are_missing_are_named(checkpoint: Path) -> None:
    data = Path(f"{checkpoint}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(
        ValueError, match=r"00000-of-00001 is cut short, as .* get it again"
    ):
        read_tf_checkpoint(checkpoint)
    data.unlink()
    with pytest.raises(FileNotFoundError, match="00000-of-00001, which .*; get it as"):
        read_tf_checkpoint(checkpoint)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_tf_checkpoint(checkpoint.with_name("other"))


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def block(entries: dict[bytes, bytes]) -> bytes:
    """A block of whole keys, with its type and checksum."""
    parts = [
        b"\0" + varint(len(key)) + varint(len(value)) + key + value
        for key, value in entries.items()
    ]
    data = b"".join(parts) + struct.pack("<II", 0, 1) + b"\0"
    return data + struct.pack("<I", masked_crc32c(data))


def write(prefix: Path, entries: dict[bytes, bytes]) -> None:
    """A checkpoint of these entries, and GRID for numbers."""
    data = block(entries)
    index = block({b"z": varint(0) + varint(len(data) - 5)})
    footer = varint(0) + varint(0) + varint(len(data)) + varint(len(index) - 5)
    end = footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    Path(f"{prefix}.index").write_bytes(data + index + end)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(GRID.tobytes())


HEADER = {b"": b"\x08\x01"}
SHAPE = b"\x12\x08\x12\x02\x08\x03\x12\x02\x08\x04"


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (HEADER | {b"w": b"\x08\x07" + SHAPE + b"\x28\x30"}, "w has type 7"),
        (HEADER | {b"w": b"\x08\x01" + SHAPE + b"\x18\x01\x28\x30"}, "w .* file 1"),
        (HEADER | {b"w": b"\x08\x01" + SHAPE + b"\x28\x2f"}, r"\(3, 4\) in 47 bytes"),
        (HEADER | {b"w": b"\x08\x01\x3a\x00"}, "stored in slices"),
        (HEADER | {b"w": b"\x0b"}, "no protocol buffer"),
        (HEADER | {b"w": b""}, "w has type 0"),
        (HEADER | {b"w": b"\x0a\x01\x01"}, "no protocol buffer"),
        (HEADER | {b"w": b"\x10\x01"}, "no protocol buffer"),
        ({b"": b"\x0a\x01\x01"}, "no protocol buffer"),
        ({b"w": b"\x08\x01"}, "it is damaged"),
        ({b"": b"\x08\x01\x10\x01"}, "big-endian"),
    ],
)
def test_what_is_no_array_is_refused(
    tmp_path: Path, entries: dict[bytes, bytes], sentence: str
) -> None:
    prefix = tmp_path / "model.ckpt"
    write(prefix, HEADER | {b"w": b"\x08\x01" + SHAPE + b"\x28\x30"})
    np.testing.assert_array_equal(read_tf_checkpoint(prefix)["w"], GRID)
    write(prefix, entries)
    with pytest.raises(ValueError, match=sentence):
        read_tf_checkpoint(prefix)
