"""How a run ends before its last step."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class NonFiniteUpdateError(ArithmeticError):
    """An update was not finite; the last checkpoint is from before it."""


class InterruptedRunError(KeyboardInterrupt):
    """The run was asked to stop, and did, once its state was saved."""


def check_finite(bad_step: float, saved: int | None) -> None:
    """Raises NonFiniteUpdateError if there has been a bad step; saved is the newest.

    Example:
      >>> check_finite(-1, saved=None)
    """
    if bad_step < 0:
        return
    kept = "no checkpoint was saved before it"
    if saved is not None:
        kept = f"the newest checkpoint, of step {saved}, is from before it"
    raise NonFiniteUpdateError(
        f"the update of step {int(bad_step)} was not finite; {kept}; try a lower "
        "train.learning_rate, or model.dtype float32, with --allow-config-change to go "
        "on from a checkpoint"
    )


STOPPING = (
    "stopping: what is under way is finished and saved; a second signal stops at once, "
    "without saving\n"
)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a step is never cut in half.

    Outside the main thread, where Python takes no signals, nothing sets it.
    """
    stop = threading.Event()

    def handle(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # asked twice: now, and without saving
        stop.set()
        # Past sys.stderr: the signal may have come while that was being written to.
        os.write(2, STOPPING.encode())

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            # None is a handler that is not Python's: JAX's, in several processes.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
