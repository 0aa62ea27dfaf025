"""Files of torch.save, read without torch and without running what they hold.

There are two forms. A zip archive holds the pickle of a tree in which tensors refer to
storages by key, and each storage as a member of its own. Before version 1.6 the same
came as five pickles in a row and the storages after them.
"""

import dataclasses
import io
import math
import os
import reprlib
import sys
import zipfile
from pathlib import Path
from typing import IO
from typing import Any

import ml_dtypes
import numpy as np

from ddpm_jax.interop.pickles import read_pickle

# The pickle of 0x1950a86a20f9469cfc6c, which opens a file of the older form.
LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
DAMAGED = (
    ValueError,
    OverflowError,
    OSError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
)
"""What reading a file raises that is cut short, or whose bytes were changed."""

DTYPES: dict[str, np.dtype[Any]] = {
    "Float": np.dtype(np.float32),
    "Double": np.dtype(np.float64),
    "Half": np.dtype(np.float16),
    "BFloat16": np.dtype(ml_dtypes.bfloat16),
    "Long": np.dtype(np.int64),
    "Int": np.dtype(np.int32),
    "Short": np.dtype(np.int16),
    "Char": np.dtype(np.int8),
    "Byte": np.dtype(np.uint8),
    "Bool": np.dtype(np.bool_),
}


@dataclasses.dataclass(frozen=True)
class Storage:
    """A row of numbers that lies outside the pickle."""

    key: str
    dtype: np.dtype[Any]
    size: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: str | os.PathLike[str]) -> dict[Any, Any]:
    """The dict that torch.save wrote, with NumPy arrays in place of tensors.

    Dicts, lists and tuples inside it are kept, and so are the types of tensors
    (bfloat16 as that of ml_dtypes). Tensors that shared memory still do; write to none.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: one sentence, if the file is cut short or damaged, or holds anything
        but numbers, strings and tensors in dicts, lists and tuples.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        value = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}, not a dict")
    except DAMAGED as error:
        reason = str(error) or "it is damaged"
    except RecursionError:
        reason = "something in it holds itself"
    else:
        return value
    raise ValueError(
        f"{path} can't be read as a torch file: {reason}; get it again, or save its "
        "state dict alone"
    )


def _read_zip(path: str | os.PathLike[str]) -> Any:  # noqa: ANN401
    """The tree of a zip archive, whose checksums zipfile compares."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        packed = sum(info.compress_size for info in archive.infolist())
        # Else members that lie over one another make memory without end of one.
        if len(names) > len(set(names)) or packed > os.path.getsize(path):
            raise ValueError("members of it overlap, or have one name")
        roots = [name.split("/")[0] for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError("it is a zip archive without a data.pkl")
        folder = roots[0]
        if f"{folder}/constants.pkl" in names:
            raise ValueError("it is a TorchScript program")
        order = "little"
        if f"{folder}/byteorder" in names:
            order = _member(archive, f"{folder}/byteorder").decode()
        tree, storages = _read_tree(io.BytesIO(_member(archive, f"{folder}/data.pkl")))
        rows = {
            key: _numbers(_member(archive, f"{folder}/data/{key}"), 0, storage, order)
            for key, storage in storages.items()
        }
    return _fill(tree, rows)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of a member, which torch never compresses, so nor may a bomb."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"{name} is missing in it") from None
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise ValueError(f"{name} in it is compressed or encrypted; torch does neither")
    return archive.read(info)


def _read_legacy(path: str | os.PathLike[str]) -> Any:  # noqa: ANN401
    """The tree of a file from before torch 1.6: five pickles, then the storages."""
    data = Path(path).read_bytes()
    if data.startswith(b"PK"):
        raise ValueError("it is a zip archive that is cut short or damaged")
    stream = io.BytesIO(data)
    if not data.startswith(LEGACY_START):
        raise ValueError("it does not begin as a file of torch.save does")
    _, _, system = (_plain(stream) for _ in range(3))
    tree, storages = _read_tree(stream)
    keys, place, rows = _plain(stream), stream.tell(), {}
    if type(system) is not dict or type(keys) is not list:
        raise ValueError("it does not say which storages it has")
    order = "big" if system.get("little_endian") is False else "little"
    for key in map(str, keys):
        if key not in storages:
            raise ValueError(f"its storage {key} belongs to no tensor")
        # A count in 8 bytes comes before the numbers.
        rows[key] = _numbers(data, place + 8, storages[key], order)
        place += 8 + rows[key].nbytes
    return _fill(tree, rows)


def _plain(stream: IO[bytes]) -> Any:  # noqa: ANN401
    return read_pickle(stream, allowed={}, persistent=_storage)


def _numbers(data: bytes, place: int, storage: Storage, order: str) -> np.ndarray:
    """The numbers of a storage, as a view of the bytes from place on."""
    held = max(len(data) - place, 0) // storage.dtype.itemsize
    if held < storage.size:
        raise ValueError(
            f"it is cut short: of the {storage.size} numbers of storage {storage.key} "
            f"it has {held}"
        )
    row = np.frombuffer(data, storage.dtype, storage.size, place)
    return row if order == sys.byteorder else row.byteswap()


def _read_tree(stream: IO[bytes]) -> tuple[Any, dict[str, Storage]]:
    """The value of a pickle, with `Tensor` for tensors, and their storages by key."""
    storages: dict[str, Storage] = {}

    def persistent(reference: object) -> Storage:
        storage = _storage(reference)
        if storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f"storage {storage.key} has two types or sizes")
        return storage

    tree = read_pickle(stream, allowed=ALLOWED, persistent=persistent)
    return tree, storages


def _storage(reference: object) -> Storage:
    """What a persistent id refers to; the sixth part is of views in legacy files."""
    match reference:
        case (
            "storage",
            np.dtype() as dtype,
            str() as key,
            str(),
            int() as size,
            *rest,
        ):
            if size >= 0 and rest in ([], [None]):
                return Storage(key, dtype, size)
    # What it holds may be shared so often that it could never be written out.
    said = reprlib.repr(reference)[:80]
    raise ValueError(f"it refers to {said}, which is no storage")


def _tensor(
    storage: object, offset: object, shape: object, strides: object, *_: object
) -> Tensor:
    """torch._utils._rebuild_tensor_v2: what follows is about gradients."""
    match storage, offset, shape, strides:
        case Storage(), int(), tuple(), tuple():
            numbers = (offset, *shape, *strides)
            if all(type(n) is int and n >= 0 for n in numbers):
                return Tensor(storage, offset, shape, strides)
    raise ValueError("a tensor in it has no legal storage, offset, shape and strides")


def _ordered_dict() -> dict[Any, Any]:
    """collections.OrderedDict; its items are set after it is made."""
    return {}


ALLOWED: dict[str, Any] = {
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    **{f"torch.{dtype.name}": dtype for dtype in DTYPES.values()},
    **{f"torch.{name}Storage": dtype for name, dtype in DTYPES.items()},
    **{f"torch.cuda.{name}Storage": dtype for name, dtype in DTYPES.items()},
}
"""All the names that a file may use, and what stands for them here."""


def _fill(tree: Any, rows: dict[str, np.ndarray]) -> Any:  # noqa: ANN401
    """Puts arrays in the place of tensors, once in each container that is shared.

    A list of ten lists of ten, and so on, takes a file of a few bytes if they are the
    same lists, and would take all memory if each were made anew.
    """
    done: dict[int, Any] = {}  # by the container's id; tree keeps them all alive

    def fill(value: Any) -> Any:  # noqa: ANN401
        match value:
            case Tensor():
                return _view(value, rows)
            case Storage():
                return rows[value.key]
            case dict() | list() | tuple() if id(value) not in done:
                done[id(value)] = made(value)
        return done.get(id(value), value)

    def made(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, dict):
            return {key: fill(entry) for key, entry in value.items()}
        return type(value)(fill(entry) for entry in value)

    return fill(tree)


def _view(tensor: Tensor, rows: dict[str, np.ndarray]) -> np.ndarray:
    if tensor.storage.key not in rows:
        raise ValueError(f"storage {tensor.storage.key} is missing in it")
    row = rows[tensor.storage.key]
    if len(tensor.shape) != len(tensor.strides):
        raise ValueError(
            f"a tensor in it has shape {tensor.shape} and strides {tensor.strides}"
        )
    if 0 in tensor.shape:
        return np.empty(tensor.shape, row.dtype)
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((size - 1) * stride for size, stride in steps)
    if last >= row.size:
        raise ValueError(
            f"a tensor of shape {tensor.shape} in it ends at number {last} of storage "
            f"{tensor.storage.key}, which has {row.size}"
        )
    # Else strides of 0 could make numbers without end of one.
    if math.prod(tensor.shape) > row.size:
        raise ValueError(
            f"a tensor of shape {tensor.shape} in it has more numbers than storage "
            f"{tensor.storage.key}, which has {row.size}"
        )
    return np.lib.stride_tricks.as_strided(
        row[tensor.offset :],
        tensor.shape,
        [stride * row.itemsize for stride in tensor.strides],
        writeable=False,
    )
