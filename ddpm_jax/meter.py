"""What a person sees while a model trains or draws: progress, speed and time left."""

import sys
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING
from typing import Any
from typing import Self

import jax
import numpy as np

from ddpm_jax.parallel import fetch

# How far the host may run ahead of the devices: far enough to keep them busy, and near
# enough that the batches on their way take little memory.
STEPS_IN_FLIGHT = 4


if TYPE_CHECKING:
    from tqdm import tqdm


Progress = Callable[[Sequence[Any]], Iterable[Any]]
"""Goes through a sequence, and shows how far it is: `iter` shows nothing."""


def image_bar(total: int, there: int) -> "tqdm[None]":
    """A bar of images drawn, images/s and time left; there is how many exist already.

    Where no terminal is attached it says so every half minute.
    """
    from tqdm import tqdm

    return tqdm(total=total, initial=there, unit="image", mininterval=_pause())


def job_bar(jobs: Sequence[Any]) -> "tqdm[Any]":
    """Goes through jobs of equal size, with a bar of how many are done; a `Progress`.

    Example:
      >>> list(job_bar(range(3)))
      [0, 1, 2]
    """
    from tqdm import tqdm

    return tqdm(jobs, unit="job", mininterval=_pause())


def _pause() -> float:
    """Seconds between two updates of a bar."""
    return 0.1 if sys.stderr.isatty() else 30


class Meter:
    """Collects each step's scalars on the device, and reads their means now and then.

    Draws a progress bar where a terminal is attached, and else prints a line for each
    reading.
    """

    def __init__(
        self,
        batch_size: int,
        first: int,
        steps: int,
        together: int = 1,
        *,
        active: bool = True,
    ) -> None:
        """Begins at step first of steps, so many together; silent unless active."""
        from tqdm import tqdm

        self.active, self.batch_size, self.together = active, batch_size, together
        self.bar = tqdm(
            total=steps,
            initial=first,
            unit="step",
            dynamic_ncols=True,
            disable=None if active else True,
        )
        self.done, self.steps = first, steps
        self.in_flight = max(1, STEPS_IN_FLIGHT // together)
        self.restart()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the bar."""
        self.bar.close()

    def restart(self) -> None:
        """Begins a new interval, so that what came between does not count."""
        self.window: list[dict[str, jax.Array]] = []
        self.began = time.perf_counter()

    def add(self, metrics: dict[str, jax.Array]) -> None:
        """Takes the scalars of a dispatch, without waiting for it."""
        self.window.append(metrics)
        self.done += self.together
        self.bar.update(self.together)
        if len(self.window) > self.in_flight:
            jax.block_until_ready(self.window[-1 - self.in_flight])

    def read(self) -> dict[str, float]:
        """Means over the interval, the last bad_step, and images_per_s; waits."""
        values = [fetch(metrics) for metrics in self.window]
        seconds = time.perf_counter() - self.began
        means = {name: float(np.mean([v[name] for v in values])) for name in values[0]}
        means["bad_step"] = values[-1]["bad_step"]
        images = len(values) * self.together * self.batch_size
        return {**means, "images_per_s": images / seconds}

    def say(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        if not self.bar.disable:
            self.bar.write(line)
        elif self.active:
            print(line, flush=True)

    def show(self, scalars: dict[str, float]) -> None:
        """Shows loss, speed and time left."""
        shown = {k: f"{v:.4g}" for k, v in scalars.items() if k != "grad_norm"}
        if not self.bar.disable:
            self.bar.set_postfix(shown)
        if not self.bar.disable or not self.active:
            return
        speed = scalars.get("images_per_s", 0) / self.batch_size
        left = f"{(self.steps - self.done) / speed:.0f} s left" if speed else ""
        words = [f"{name} {value}" for name, value in shown.items()]
        print(f"step {self.done}/{self.steps}", *words, left, sep="  ", flush=True)
