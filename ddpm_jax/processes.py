"""Processes: which part of the work is this one's, and what all of them know.

Where there is but one, all is its own, and nothing waits. Every process calls the
functions that wait at the same point, or all of them hang.
"""

import jax
import numpy as np


def process_slice(
    n: int, *, process_index: int | None = None, process_count: int | None = None
) -> slice:
    """Returns which of n rows are this process's: contiguous, in order, no gaps.

    The two numbers default to those of the running process. Where n is a multiple of
    the processes, the parts are equal and lie in the order of axis_index(AXIS).

    Example:
        >>> process_slice(10, process_index=1, process_count=2)
        slice(5, 10, None)
    """
    index = jax.process_index() if process_index is None else process_index
    count = jax.process_count() if process_count is None else process_count
    return slice(n * index // count, n * (index + 1) // count)


def first_process() -> bool:
    """Whether this is the process that prints and writes for all.

    Example:
        >>> first_process()
        True
    """
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Waits until every process has come to the point of this name."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def gather(x: np.ndarray) -> np.ndarray:
    """The arrays of all processes, [processes, ...], to the last bit.

    Example:
        >>> gather(np.array([0.1, 0.2])).shape == (jax.process_count(), 2)
        True
    """
    if jax.process_count() == 1:
        return x[None]
    from jax.experimental import multihost_utils

    # As bytes, since JAX would make float32 of float64.
    own = np.frombuffer(x.tobytes(), np.uint8)
    raw = np.asarray(multihost_utils.process_allgather(own))
    return raw.view(x.dtype).reshape(-1, *x.shape)


def any_process(flag: bool) -> bool:
    """Whether a flag is set in any process; waits until all have come to ask.

    Example:
        >>> any_process(True), any_process(False)
        (True, False)
    """
    return bool(gather(np.array(flag)).any())


def all_processes(flag: bool) -> bool:
    """Whether a flag is set in every process; waits until all have come to ask.

    Example:
        >>> all_processes(True), all_processes(False)
        (True, False)
    """
    return bool(gather(np.array(flag)).all())
