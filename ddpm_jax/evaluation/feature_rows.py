"""Features of many images, on disk as they come, so that a kill costs one batch.

A folder holds a row for each image, [features, logits]: first in parts, as
`sample_files.py` keeps images, then in one rows.npy that is read where it lies. What
the rows are of is in draw.json beside it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import NamedTuple

import jax
import numpy as np

from ddpm_jax import processes
from ddpm_jax import sample_files
from ddpm_jax.evaluation.rows import Compute
from ddpm_jax.evaluation.rows import shared_rows
from ddpm_jax.files import replacing
from ddpm_jax.metrics.extractors import Extractor
from ddpm_jax.metrics.extractors import compile_extractor

ROWS = "rows.npy"


class Source(NamedTuple):
    """Where images come from, by their numbers 0..num_images-1."""

    num_images: int
    shape: tuple[int, ...]  # (H, W, C)
    compile: Callable[[int], Callable[[np.ndarray], np.ndarray]]
    """From the largest batch to a function of numbers [n]: uint8 [n, H, W, C]."""
    protocol: dict[str, Any]
    """What tells them from other images, as plain data."""


def row_type(extractor: Extractor, shape: tuple[int, ...]) -> np.dtype[Any]:
    """The fields of a row; nothing is compiled.

    Raises:
      ValueError: if the extractor does not take images of this shape (H, W, C).

    Example:
      >>> from ddpm_jax.metrics.extractors import pixels8
      >>> row_type(pixels8(), (8, 8, 1))
      dtype([('features', '<f4', (64,))])
    """
    image = jax.ShapeDtypeStruct((1, *shape), np.uint8)
    answer = jax.eval_shape(extractor.apply, extractor.params, image)
    fields = {k: v for k, v in answer._asdict().items() if v is not None}
    return np.dtype([(name, "<f4", x.shape[1:]) for name, x in fields.items()])


def feature_rows(
    folder: Path,
    identity: dict[str, Any],
    source: Source,
    extractor: Extractor,
    batch_size: int,
) -> np.ndarray:
    """The rows of all images of a source, computed or read: a memory map [N].

    identity is what tells them from other rows. All processes share the work.

    Raises:
      ValueError: if the folder holds other rows, or damaged ones.
    """
    dtype = row_type(extractor, source.shape)
    if not is_finished(folder, identity):

        def compile(size: int) -> Compute:
            images_of = source.compile(size)
            extract = compile_extractor(extractor, source.shape, size)

            def compute(numbers: np.ndarray) -> dict[str, np.ndarray]:
                answer = extract(images_of(numbers))
                return {field: getattr(answer, field) for field in dtype.fields or {}}

            return compute

        count = source.num_images
        shared_rows(folder, identity, count, compile, dtype, batch_size)
        if processes.first_process():
            finish(folder, identity, count, dtype)
        processes.wait_for_all(f"{folder.name} finished")
    rows: np.ndarray = np.load(folder / ROWS, mmap_mode="r", allow_pickle=False)
    return rows


def is_finished(folder: Path, identity: dict[str, Any]) -> bool:
    """Whether a folder holds all rows of an identity, in one file."""
    whole = (folder / ROWS).exists() and not (folder / sample_files.PARTS).exists()
    return whole and sample_files.read_draw(folder) == identity


def finish(
    folder: Path, identity: dict[str, Any], count: int, dtype: np.dtype[Any]
) -> None:
    """Makes rows.npy of the parts, of which one at a time is in memory."""
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (count,),
    }
    for draft in folder.glob(f"{ROWS}.*.partial"):
        draft.unlink()  # of a process that was killed
    with replacing(folder / ROWS) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in sample_files.read(folder, 0, count, (), dtype):
            file.write(part.tobytes())
    sample_files.write_draw(folder, identity)
    sample_files.remove_parts(folder)
