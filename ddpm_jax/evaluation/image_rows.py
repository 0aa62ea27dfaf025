"""What a metric computes for single images of a data set: a row each, kept until what
they say is written elsewhere.
"""

from collections.abc import Callable
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
) -> np.ndarray:
    """Computes a row of dtype [N] for each image of task.rows, or reads those there.

    function is ((params, key), `examples`) -> a dict of arrays [n, ...], the fields of
    dtype. Image i of the split should draw from fold_in(key, i). Rows are kept in
    task.out / name until `forget_rows`; identity tells them from rows of another kind.

    Raises:
      ValueError: if rows of another kind are there, or damaged.
    """
    folder, rows = task.out / name, task.rows

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
    return np.concatenate(list(sample_files.read(folder, 0, len(rows), (), dtype)))


def examples(task: Task, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Images, their numbers in the split, and labels if the model is told of them."""
    images, labels = np.asarray(task.images[rows]), task.labels
    told = {} if labels is None else {"label": labels[rows]}
    return {"image": images, "index": rows.astype(np.int32), **told}


def forget_rows(task: Task, name: str) -> None:
    """Deletes the rows of a name, once what they say is written elsewhere."""
    folder = task.out / name
    if not parallel.first_process():
        return
    sample_files.remove_parts(folder)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
