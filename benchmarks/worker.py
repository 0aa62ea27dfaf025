"""A process that does one peer's work, a turn for each line on its standard input.

Between turns it sleeps in read(), so that the process whose turn it is has the machine
to itself. `benchmarks.turns` starts it; every answer is one line of JSON.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.work import PEERS
from benchmarks.work import Task
from benchmarks.work import Work

# How long idle OpenMP threads spin by default is milliseconds; then they sleep.
REST_S = 0.3


def main() -> None:
    """Makes the work ready, says so, and answers until the input ends."""
    name, task = sys.argv[1], Task(**json.loads(sys.argv[2]))
    # Libraries print as they like; the answers must stay alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    module = importlib.import_module(PEERS[name].module)
    work: Work = module.make(name, task)
    print(json.dumps({"parameters": work.parameters}), file=answers)
    for _ in sys.stdin:
        wall, cpu = take_turn(work.turn)
        peak = resident_peak() if task.device == "cpu" else module.device_peak()
        time.sleep(REST_S)
        answer = {"wall": wall, "cpu": cpu, "peak_bytes": peak}
        print(json.dumps(answer), file=answers)


def take_turn(turn: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one turn on the clock, and those of all threads on the cores."""
    # Not os.times: it counts in hundredths of a second, and small steps take fewer.
    wall, cpu = time.perf_counter(), time.process_time()
    turn()
    return time.perf_counter() - wall, time.process_time() - cpu


def resident_peak() -> int:
    """The largest resident memory that this process had, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    # On Linux this one would also count the parent's memory, before exec.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()
