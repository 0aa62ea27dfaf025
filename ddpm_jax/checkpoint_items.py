"""What is in a checkpoint: its items and its record, read, and whether they are whole.

`checkpoint` describes the layout, and writes it.
"""

import asyncio
import contextlib
import textwrap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ddpm_jax.trees import named

# The layout of what is on disk; raise it when that changes its meaning.
SCHEMA = 1

# A nested dict, tuple or NamedTuple of arrays, or one array.
Tree = Any


class DamagedCheckpointError(ValueError):
    """A checkpoint cannot be read, or its bytes are not those that were saved."""


def read(path: Path, only: str | None = None) -> tuple[dict[str, Tree], Tree]:
    """Returns ({item: tree of NumPy arrays}, config); one item or all of them."""
    record = read_record(path)
    if record["schema"] != SCHEMA:
        raise ValueError(
            f"checkpoint {path} has layout {record['schema']} and this version of "
            f"ddpm_jax reads {SCHEMA}: use the version that wrote it"
        )
    sums = record["crc32"]
    if only is not None and only not in sums:
        raise ValueError(f"checkpoint {path} has no {only}: it has {', '.join(sums)}")
    sums = sums if only is None else {only: sums[only]}
    return read_items(path, sums), record["config"]


def read_record(path: Path) -> dict[str, Any]:
    """The record of a checkpoint, as `checkpoint.save` wrote it."""
    import orbax.checkpoint as ocp

    with damage_said(path), ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        record: dict[str, Any] = reader.restore(path / "record")
    return record


def read_items(path: Path, sums: dict[str, int]) -> dict[str, Tree]:
    """The items that sums names, as trees of NumPy arrays whose CRC-32 they are."""
    import orbax.checkpoint as ocp

    items = {}
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=array_readers())
    with damage_said(path), ocp.Checkpointer(handler) as reader:
        for name, expected in sums.items():
            items[name] = reader.restore(path / name)
            if crc32_of(items[name]) != expected:
                raise ValueError(f"the bytes of {name} have changed")
    return items


@contextlib.contextmanager
def damage_said(path: Path) -> Iterator[None]:
    """Raises DamagedCheckpointError, with the step, for all that goes wrong."""
    try:
        yield
    except Exception as error:  # Orbax raises Exception itself for a truncated file.
        reason = str(error).partition("\n")[0].partition(" in OCDBT database")[0]
        reason = textwrap.shorten(reason, 120, placeholder=" ...")
        raise DamagedCheckpointError(
            f"the checkpoint of step {path.name} in {path.parent} is damaged ({reason})"
        ) from error


def array_readers() -> Any:  # noqa: ANN401
    """How Orbax reads arrays: until all are read, or can't be.

    Its own reader leaves at the first that can't, and closes the event loop into which
    TensorStore's threads then call for each of the others, with a traceback.
    """
    import orbax.checkpoint as ocp

    handlers: Any = ocp.type_handlers

    class Reader(ocp.type_handlers.NumpyHandler):  # type: ignore[misc]
        async def deserialize(self, infos: Any, args: Any = None) -> list[np.ndarray]:  # noqa: ANN401
            one = super().deserialize
            args = args or [None] * len(infos)
            reads = [one([i], a and [a]) for i, a in zip(infos, args, strict=True)]
            found: list[Any] = await asyncio.gather(*reads, return_exceptions=True)
            for result in found:
                if isinstance(result, BaseException):
                    raise result
            return [array for (array,) in found]

    # Only arrays of NumPy are saved; without the other, Orbax warns that it is missing.
    return handlers.create_type_handler_registry(
        (np.ndarray, Reader()), (jax.Array, handlers.ArrayHandler())
    )


def crc32_of(tree: Tree) -> int:
    """The CRC-32 of all leaves of a tree, in the order of their names."""
    total = 0
    for _, leaf in sorted(named(tree).items()):
        total = zlib.crc32(leaf.tobytes(), total)
    return total
