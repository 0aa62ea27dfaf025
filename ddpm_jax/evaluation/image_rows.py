"""What a metric computes for single images: a row each, kept as it comes.

Rows are computed a batch at a time, on all devices and by all processes, and stay in
files until what they say is written elsewhere, so that the same command goes on after a
kill.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import DTypeLike

from ddpm_jax import parallel
from ddpm_jax import sample_files
from ddpm_jax.evaluation.task import Task
from ddpm_jax.meter import image_bar


def measured_rows(
    task: Task,
    name: str,
    identity: dict[str, Any],
    function: Callable[..., dict[str, jax.Array]],
    dtype: DTypeLike,
) -> np.ndarray:
    """Computes a row of dtype [N] for each image of task.rows, or reads those there.

    function is ((params, key), `examples`) -> a dict of arrays [n, ...], the fields of
    dtype. Image i of the split should draw from
    fold_in(key, i). Rows are kept in task.out / name until `forget_rows`; identity is
    what tells them from rows of another kind.

    Raises:
      ValueError: if rows of another kind are there, or damaged.
    """
    folder, rows, settings = task.out / name, task.rows, task.settings
    first, count = parallel.first_process(), len(rows)
    if first:
        sample_files.begin(folder, identity, 0, count)
    parallel.wait_for_all(f"{name} begins")
    batches = sample_files.missing_batches(folder, 0, count, settings.batch_size)
    # None may write, and so fill a gap, before all know the same gaps.
    parallel.wait_for_all(f"{name} gaps")
    own = batches[parallel.process_slice(len(batches))]
    if own:
        compute_rows(task, folder, own, sum(map(len, batches)), function, dtype)
    parallel.wait_for_all(f"{name} rows")
    return np.concatenate(list(sample_files.read(folder, 0, count, (), dtype)))


def compute_rows(
    task: Task,
    folder: Path,
    batches: list[np.ndarray],
    missing: int,
    function: Callable[..., dict[str, jax.Array]],
    dtype: DTypeLike,
) -> None:
    """Computes the rows of some batches of images, and writes each as it comes."""
    rows = task.rows
    if missing < len(rows):
        print(f"going on: {len(rows) - missing} of {len(rows)} images are there")
    example = examples(task, rows[batches[0]])
    print("compiling; later starts find the program in the cache ...", flush=True)
    key = jax.random.key(task.settings.seed)
    shared = parallel.replicate((task.trained.params, key))
    size = max(map(len, batches))
    largest = {k: np.zeros((size, *x.shape[1:]), x.dtype) for k, x in example.items()}
    compiled = parallel.compile_map(function, shared, largest)
    with image_bar(len(rows), len(rows) - missing) as bar:
        for batch in batches:
            answer = compiled(shared, examples(task, rows[batch]))
            part = np.empty(len(batch), dtype)
            for field, values in answer.items():
                part[field] = values
            sample_files.add(folder, int(batch[0]), part)
            bar.update(len(batch))


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
