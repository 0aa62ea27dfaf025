"""Times this project's sampler: python -m benchmarks.sample_step.

Chunks of a chain, scanned as a whole chain is, give the cost of a reverse step and its
spread; one whole chain is drawn as well.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import jax

from benchmarks import report
from benchmarks import table
from benchmarks.ours import CIFAR
from benchmarks.ours import make_sampler
from benchmarks.ours import read_config
from benchmarks.ours import shortened
from benchmarks.ratios import quartiles
from benchmarks.work import Dtype
from benchmarks.worker import take_turn
from ddpm_jax import command
from ddpm_jax.config import Config


@dataclass(frozen=True)
class SampleStep:
    """Times reverse steps at some batch sizes, and a whole chain."""

    config: Path = CIFAR
    """The config file."""
    ch: int | None = None
    """Channels of the first level; None: the config's."""
    batch_sizes: tuple[int, ...] = (1, 4, 16)
    """Images of a chain."""
    dtype: Dtype = "float32"
    """Type of the large layers."""
    steps: int = 10
    """Reverse steps of a chunk."""
    chunks: int = 20
    """Chunks that are timed, after two that are not."""
    chain: bool = True
    """Draw a whole chain too, all the steps of the config."""
    out: Path = report.RESULTS
    """The folder of the JSON file."""


def main(arguments: list[str]) -> int:
    """Parses, measures, prints a table and writes the JSON file."""
    options = command.parse(SampleStep, arguments)
    command.check_range(options, steps=(1, None), chunks=(1, None))
    command.set_up_jax()
    config = read_config(options.config, ch=options.ch, dtype=options.dtype)
    rows = []
    for size in options.batch_sizes:
        rows.append(measure(config, size, options.steps, options.chunks))
        if options.chain:
            rows[-1] |= measure_chain(config, size)
    print(table.render("sample_step", rows))
    stem = f"{options.config.stem}-ch{config.model.ch}-{options.dtype}"
    print(report.write(options.out, stem, jax.default_backend(), rows))
    return 0


def measure(config: Config, batch_size: int, steps: int, chunks: int) -> report.Row:
    """The row of one batch size, without the whole chain."""
    sample, _ = make_sampler(shortened(config, steps), batch_size)
    times = [take_turn(sample) for _ in range(chunks + 2)][2:]
    low, median, high = quartiles([1000 * wall / steps for wall, _ in times])
    return {
        "ch": config.model.ch,
        "batch_size": batch_size,
        "dtype": config.model.dtype,
        "ms": median,
        "ms_q1": low,
        "ms_q3": high,
        "cpu_per_wall": quartiles([cpu / wall for wall, cpu in times])[1],
    }


def measure_chain(config: Config, batch_size: int) -> report.Row:
    """The steps and seconds of one whole chain."""
    sample, _ = make_sampler(config, batch_size)
    seconds, _ = take_turn(sample)
    return {"chain_steps": config.process.num_timesteps, "chain_s": seconds}


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
