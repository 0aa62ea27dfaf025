"""Compares this project with PyTorch: workers that take turns, a step each.

python -m benchmarks.compare train
python -m benchmarks.compare sample --ch 32 --batch-size 1 --steps 100

A ratio is time of the first worker over time of another in the same round: the median
over the rounds, with its 95 % interval by the sign test. Below 1 the first is faster.
"""

import dataclasses
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks import report
from benchmarks import table
from benchmarks.ratios import median_ratio
from benchmarks.ratios import quartiles
from benchmarks.turns import PASSIVE
from benchmarks.turns import Round
from benchmarks.turns import Worker
from benchmarks.turns import is_quiet
from benchmarks.turns import take_round
from benchmarks.work import PEERS
from benchmarks.work import Task
from benchmarks.work import check_peers
from benchmarks.work import default_peers
from benchmarks.work import task_of
from ddpm_jax import command


@dataclass(frozen=True)
class Compare(Task):
    """Runs this project and PyTorch step by step in turn."""

    peers: tuple[str, ...] = ()
    """Who takes part, the one to be compared first; all of the same network if empty.
    lucidrains-other-net is there as well."""
    rounds: int = 30
    """Turns of each, without the first ones."""
    warm_up: int = 3
    """First rounds, which compile and are dropped."""
    min_cpu: float | None = None
    """A round with a worker below this many busy cores is thrown out; None: 95 % of the
    cores on a CPU, 0 on a GPU. Small networks leave cores idle by themselves."""
    max_others: float = 0.1
    """A round in which other processes kept more cores busy than this is thrown out."""
    openmp: Literal["passive", "default"] = "default"
    """What idle threads of PyTorch's do: sleep at once, or, as users have it, spin."""
    out: Path = report.RESULTS
    """The folder of the JSON file."""


def main(arguments: list[str]) -> int:
    """Parses, runs all rounds, prints a table and writes the JSON file."""
    options = command.parse(Compare, arguments)
    command.check_range(options, rounds=(1, None), warm_up=(1, None), steps=(1, 1000))
    names = options.peers or default_peers(options.kind)
    check_peers(names, options.kind)
    task = task_of(options)
    parameters, rounds = run(options, task, names)
    min_cpu = options.min_cpu
    if min_cpu is None:
        min_cpu = 0.95 * report.cores() if options.device == "cpu" else 0.0
    kept = [x for x in rounds if is_quiet(x, min_cpu, options.max_others)]
    rows = summarise(task, parameters, kept or rounds)
    counts = {"rounds": len(kept), "thrown_out": len(rounds) - len(kept)}
    rows = [{**row, **counts, "openmp": options.openmp} for row in rows]
    print(table.render("compare", rows))
    check_kept(kept, rounds)
    stem = f"{task.kind}-ch{task.ch}-batch{task.batch_size}-{task.dtype}"
    if options.peers:
        stem += f"-{'-'.join(options.peers)}"
    if options.openmp != "default":
        stem += f"-{options.openmp}"
    turns = [{name: turn._asdict() for name, turn in x.turns.items()} for x in rounds]
    others = [x.others for x in rounds]
    path = report.write(
        options.out, stem, task.device, rows, turns=turns, others=others
    )
    print(path)
    return 0


def check_kept(kept: list[Round], rounds: list[Round]) -> None:
    """Raises ArithmeticError if no round is left to report."""
    if kept:
        return
    raise ArithmeticError(
        f"all {len(rounds)} rounds are thrown out, and the table above is of those: "
        "the machine is not quiet, or this work does not fill its cores; --min-cpu and "
        "--max-others say what counts"
    )


def run(
    options: Compare, task: Task, names: tuple[str, ...]
) -> tuple[dict[str, int], list[Round]]:
    """Starts the workers and takes all rounds: parameters of each, and the rounds."""
    environ = PASSIVE if options.openmp == "passive" else {}
    with ExitStack() as stack:
        workers = []
        for name in names:
            print(f"starting {name} ...", file=sys.stderr)
            workers.append(stack.enter_context(Worker(name, task, environ)))
        for _ in range(options.warm_up):
            take_round(workers)
        rounds = []
        for number in range(options.rounds):
            rounds.append(take_round(workers))
            print(f"round {number + 1}: {describe(rounds[-1])}", file=sys.stderr)
        return {worker.name: worker.parameters for worker in workers}, rounds


def describe(done: Round) -> str:
    """A round in one line: seconds and busy cores of each worker."""
    words = [
        f"{name} {turn.wall:.3f} s x {turn.cpu / turn.wall:.2f}"
        for name, turn in done.turns.items()
    ]
    return ", ".join([*words, f"others x {done.others:.2f}"])


def summarise(
    task: Task, parameters: dict[str, int], rounds: list[Round]
) -> list[report.Row]:
    """A row of the table for each worker."""
    first, *_ = parameters
    steps = task.steps if task.kind == "sample" else 1
    rows = []
    for name in parameters:
        turns = [done.turns[name] for done in rounds]
        walls = [turn.wall for turn in turns]
        ours = [done.turns[first].wall for done in rounds]
        low, median, high = (1000 * s / steps for s in quartiles(walls))
        row = {
            "worker": name,
            "same_network": PEERS[name].same_network,
            "parameters": parameters[name],
            **dataclasses.asdict(task),
            "ms": median,
            "ms_q1": low,
            "ms_q3": high,
            "cpu_per_wall": quartiles([turn.cpu / turn.wall for turn in turns])[1],
            "peak_mib": max(turn.peak_bytes for turn in turns) / 2**20,
        }
        if name != first:
            ratio = median_ratio(ours, walls)
            row |= {"ratio": ratio.median, "low": ratio.low, "high": ratio.high}
        rows.append(row)
    return mark_fastest(rows)


def mark_fastest(rows: list[report.Row]) -> list[report.Row]:
    """Marks the fastest of those that ours is compared with, if all took part."""
    kind, names = rows[0]["kind"], [row["worker"] for row in rows]
    if names[0] != "ours" or not set(default_peers(kind)) <= set(names):
        return rows
    rivals = [row for row in rows if "ratio" in row and row["same_network"]]
    fastest = min(rivals, key=lambda row: float(row["ms"]), default=None)
    return [{**row, "fastest": row is fastest} for row in rows]


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
