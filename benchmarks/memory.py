"""Peak memory of a process that trains: python -m benchmarks.memory.

On a CPU it is the resident memory of the whole process, on a GPU what arrays took
there. Each worker runs alone. Compiling takes memory of its own, so this project is
measured as it starts for the first time, and with a warm compilation cache.
"""

import dataclasses
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import report
from benchmarks import table
from benchmarks.turns import Worker
from benchmarks.work import Task
from benchmarks.work import check_peers
from benchmarks.work import task_of
from ddpm_jax import command


@dataclass(frozen=True)
class Memory(Task):
    """Measures the peak memory of training, ours and PyTorch's."""

    peers: tuple[str, ...] = ("ours", "diffusers-eager", "diffusers-channels-last")
    """Who is measured; the first one is compared with the others."""
    turns: int = 5
    """Steps that each takes."""
    out: Path = report.RESULTS
    """The folder of the JSON file."""


def main(arguments: list[str]) -> int:
    """Parses, measures, prints a table and writes the JSON file."""
    options = command.parse(Memory, arguments)
    command.check_range(options, turns=(1, None))
    if not options.peers:
        raise ValueError("--peers is empty; name who is measured, such as ours")
    check_peers(options.peers, options.kind)
    task = task_of(options)
    with tempfile.TemporaryDirectory() as cache:
        environ = {"JAX_COMPILATION_CACHE_DIR": cache}
        cold = measure(options.peers[0], task, options.turns, environ)
        rows = [measure(x, task, options.turns, environ) for x in options.peers]
    for row in rows[1:]:
        row["ratio"] = rows[0]["peak_mib"] / row["peak_mib"]
    cold["worker"] += ", first start"
    rows = [cold, *rows]
    print(table.render("memory", rows))
    stem = f"{task.kind}-ch{task.ch}-batch{task.batch_size}-{task.dtype}"
    print(report.write(options.out, stem, task.device, rows))
    return 0


def measure(name: str, task: Task, turns: int, environ: dict[str, str]) -> report.Row:
    """The row of one worker."""
    with Worker(name, task, environ) as worker:
        peaks = [worker.take_turn().peak_bytes for _ in range(turns)]
    return {"worker": name, **dataclasses.asdict(task), "peak_mib": peaks[-1] / 2**20}


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
