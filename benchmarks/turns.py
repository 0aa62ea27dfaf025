"""Workers that take turns: A B C A B C, one at work at any time.

A round is one turn of each. It counts only if no other process disturbed it: what
takes a core away slows PyTorch's threads, which wait for each other at every
operation, several times as much as it slows XLA's.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import NamedTuple
from typing import Self

from benchmarks.report import ROOT
from benchmarks.work import Task

# Threads of OpenMP that have nothing to do sleep at once instead of spinning.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
PLATFORMS = {"cpu": "cpu", "gpu": "cuda"}


class Turn(NamedTuple):
    """What one turn of a worker took."""

    wall: float  # seconds
    cpu: float  # seconds on the cores, of all threads together
    peak_bytes: int  # the most memory the worker ever held


class Round(NamedTuple):
    """A turn of each worker."""

    turns: dict[str, Turn]
    others: float  # cores that other processes kept busy meanwhile


class Worker:
    """A process that does a task a turn at a time, when asked to."""

    def __init__(
        self, name: str, task: Task, environ: Mapping[str, str] | None = None
    ) -> None:
        """Starts the process and waits until it is ready."""
        arguments = [name, json.dumps(dataclasses.asdict(task))]
        # JAX would take most of a GPU's memory, which others work on as well.
        settings = {
            "JAX_PLATFORMS": PLATFORMS[task.device],
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        self.name, self.task = name, task
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *arguments],
            cwd=ROOT,
            env={**os.environ, **settings, **(environ or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.parameters = int(self._answer()["parameters"])

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Ends the process: at once after an error, else when its input ends."""
        if self.process.returncode is not None:
            return
        if error is not None:
            self.process.kill()
        self.process.communicate()

    def take_turn(self) -> Turn:
        """Has the worker do one turn, and returns what it took."""
        assert self.process.stdin is not None
        try:
            print("turn", file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # the missing answer says it
        return Turn(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.communicate()
            raise ChildProcessError(
                f"the worker {self.name} ended (code {self.process.returncode}) "
                "instead of answering; what it said is above"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


def take_round(workers: list[Worker]) -> Round:
    """Has each worker take a turn, one after the other."""
    began, busy = time.perf_counter(), busy_seconds()
    turns = {worker.name: worker.take_turn() for worker in workers}
    wall = time.perf_counter() - began
    others = busy_seconds() - busy - sum(turn.cpu for turn in turns.values())
    return Round(turns, max(others / wall, 0.0))


def busy_seconds() -> float:
    """Seconds that all cores were busy since the machine started.

    The time that a hypervisor gave to other machines counts as busy. 0 where the
    system has no /proc/stat.
    """
    path = Path("/proc/stat")
    if not path.is_file():
        return 0.0
    fields = path.read_text().split(maxsplit=9)[1:9]
    user, nice, system, _, _, irq, softirq, steal = map(int, fields)
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def is_quiet(done: Round, min_cpu: float, max_others: float) -> bool:
    """Whether a round counts: every worker had its cores, and no one else was busy.

    Example:
        >>> calm, robbed = Turn(1.0, 1.95, 0), Turn(1.0, 1.4, 0)
        >>> [is_quiet(Round({"ours": x}, 0.0), 1.9, 0.1) for x in (calm, robbed)]
        [True, False]
    """
    slowest = min(turn.cpu / turn.wall for turn in done.turns.values())
    return slowest >= min_cpu and done.others <= max_others
