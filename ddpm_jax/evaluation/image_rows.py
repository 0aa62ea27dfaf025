"""What a metric computes for single images of a data set: a row each, kept until what
they say is written elsewhere.
"""

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ddpm_jax import parallel
from ddpm_jax import sample_files
from ddpm_jax.evaluation.rows import Compute
from ddpm_jax.evaluation.rows import shared_rows
from ddpm_jax.evaluation.task import Task


def measured_rows(
    task: Task,
    name: str,
    identity: dict[str, Any],
    function: Callable[..., dict[str, jax.Array]],
    dtype: np.dtype[Any],
) -> Iterator[np.ndarray]:
    """Computes a row for each image of the task, and yields parts [n] of dtype.

    function is ((params, key), `examples`) -> a dict of arrays [n, ...], the fields of
    dtype. Image i of the split should draw from fold_in(key, i). Rows are kept in
    task.out / name until `forget_rows`, and those there are not computed again;
    identity tells them from rows of another kind.

    Raises:
      ValueError: if rows of another kind are there, or damaged.
    """
    folder, rows = task.out / name, task.measured.images.rows

    def compile(size: int) -> Compute:
        shared = parallel.replicate(
            (task.trained.params, jax.random.key(task.settings.seed))
        )
        largest = {
            field: np.zeros((size, *x.shape[1:]), x.dtype)
            for field, x in examples(task, rows[:1]).items()
        }
        compiled = parallel.compile_map(function, shared, largest)
        return lambda numbers: compiled(shared, examples(task, rows[numbers]))

    size = task.settings.batch_size
    shared_rows(folder, identity, len(rows), compile, dtype, size)
    return sample_files.read(folder, 0, len(rows), (), dtype)


def examples(task: Task, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Images of the split, their numbers, and labels of a conditional model."""
    images, labels = task.measured.images.images[rows], task.labels
    fields = {} if labels is None else {"label": labels[rows]}
    return {"image": np.asarray(images), "index": rows.astype(np.int32), **fields}


def forget_rows(folder: Path) -> None:
    """Deletes rows, by one process, once what they say is written elsewhere."""
    sample_files.remove_parts(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
