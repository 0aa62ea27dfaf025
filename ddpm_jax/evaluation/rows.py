"""A row of numbers for each of many images, on disk as they come.

Rows are computed a batch at a time, on all devices and by all processes, and a kill
costs one batch: the same call goes on with those that are missing.
"""

from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_jax import processes
from ddpm_jax import sample_files
from ddpm_jax.meter import image_bar

Compute = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Numbers of images [n] -> the fields of their rows, [n, ...] each."""


def shared_rows(
    folder: Path,
    identity: dict[str, Any],
    count: int,
    compile: Callable[[int], Compute],
    dtype: np.dtype[Any],
    batch_size: int,
) -> None:
    """Puts rows of dtype for images 0..count-1 into the parts of a folder.

    compile makes a `Compute` of the largest batch; identity is what tells the rows from
    those of another kind.

    Raises:
      ValueError: if the folder holds rows of another kind.
    """
    batches, missing = sample_files.share_missing(
        folder, identity, 0, count, batch_size
    )
    there = count - missing
    if batches:
        if there:
            print(f"going on: {there} of {count} images are there")
        print("compiling; later starts find the program in the cache ...", flush=True)
        compute = compile(max(map(len, batches)))
        with image_bar(count, there) as bar:
            for numbers in batches:
                part = np.empty(len(numbers), dtype)
                for field, values in compute(numbers).items():
                    part[field] = values
                sample_files.add(folder, int(numbers[0]), part)
                bar.update(len(numbers))
    processes.wait_for_all(f"{folder.name} rows")
