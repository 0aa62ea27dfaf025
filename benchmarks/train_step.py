"""Times this project's train step: python -m benchmarks.train_step.

The floating-point operations are the compiler's count; their rate is given as a share
of the best matrix multiplication measured between the steps, in the same type.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import jax

from benchmarks import report
from benchmarks import table
from benchmarks.ours import CIFAR
from benchmarks.ours import make_training
from benchmarks.ours import read_config
from benchmarks.ours import train_turn
from benchmarks.ratios import quartiles
from benchmarks.roofline import floating_point_operations
from benchmarks.roofline import matmul_rate
from benchmarks.work import Dtype
from benchmarks.worker import take_turn
from ddpm_jax import command
from ddpm_jax.config import Config


@dataclass(frozen=True)
class TrainStep:
    """Times the train step of a config at some batch sizes."""

    config: Path = CIFAR
    """The config file."""
    ch: int | None = None
    """Channels of the first level; None: the config's."""
    batch_sizes: tuple[int, ...] = (8, 16)
    """Images of a step."""
    dtype: Dtype = "float32"
    """Type of the large layers."""
    accumulate: int | None = None
    """Micro-batches of a step; None: the config's."""
    remat: bool | None = None
    """Compute each block again on the way back; None: the config's."""
    steps: int = 20
    """Steps that are timed, after three that are not."""
    out: Path = report.RESULTS
    """The folder of the JSON file."""


def main(arguments: list[str]) -> int:
    """Parses, measures, prints a table and writes the JSON file."""
    options = command.parse(TrainStep, arguments)
    command.check_range(options, steps=(1, None))
    command.set_up_jax()
    rows = []
    for size in options.batch_sizes:
        config = read_config(
            options.config,
            ch=options.ch,
            batch_size=size,
            dtype=options.dtype,
            accumulate=options.accumulate,
            remat=options.remat,
        )
        rows.append(measure(config, options.steps))
    best = max(row["share"] for row in rows)
    rows = [{**row, "best": row["share"] == best} for row in rows]
    print(table.render("train_step", rows))
    stem = f"{options.config.stem}-ch{rows[0]['ch']}-{options.dtype}"
    stem += f"-accumulate{rows[0]['accumulate']}-remat-{rows[0]['remat']}"
    print(report.write(options.out, stem, jax.default_backend(), rows))
    return 0


def measure(config: Config, steps: int) -> report.Row:
    """The row of one batch size."""
    training = make_training(config)
    operations = floating_point_operations(training.step)
    turn = train_turn(training)
    for _ in range(3):
        turn()
    rate = matmul_rate(config.model.dtype)
    times = [take_turn(turn) for _ in range(steps)]
    rate = max(rate, matmul_rate(config.model.dtype))
    low, median, high = quartiles([wall for wall, _ in times])
    return {
        "ch": config.model.ch,
        "batch_size": config.train.batch_size,
        "dtype": config.model.dtype,
        "accumulate": config.train.accumulate,
        "remat": "yes" if config.model.remat else "no",
        "ms": 1000 * median,
        "ms_q1": 1000 * low,
        "ms_q3": 1000 * high,
        "cpu_per_wall": quartiles([cpu / wall for wall, cpu in times])[1],
        "images_per_s": config.train.batch_size / median,
        "gflop": operations / 1e9,
        "gflop_per_s": operations / median / 1e9,
        "matmul_gflop_per_s": rate / 1e9,
        "share": operations / median / rate,
    }


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
