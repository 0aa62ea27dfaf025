"""Times the data pipeline, and what a training loop waits for it.

python -m benchmarks.input takes made-up images, as many as CIFAR-10 has. The loop
prepares a batch while earlier steps run, as the real one does; the seconds that it
spends so are an upper bound of those in which the device has nothing to do.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from benchmarks import report
from benchmarks import table
from benchmarks.ours import Training
from benchmarks.ours import make_training
from benchmarks.ours import read_config
from ddpm_jax import command
from ddpm_jax import parallel
from ddpm_jax.data import Batch
from ddpm_jax.data import Images
from ddpm_jax.data import batches
from ddpm_jax.data import load
from ddpm_jax.meter import STEPS_IN_FLIGHT


@dataclass(frozen=True)
class Input:
    """Times the input of a training loop, alone and in a loop."""

    source: str | None = None
    """Images as --data.source of train.py names them; None: made-up ones."""
    count: int = 50_000
    """How many images are made up."""
    ch: int = 128
    """Channels of the first level of the CIFAR-10 network."""
    batch_size: int = 8
    """Images of a step."""
    steps: int = 30
    """Steps of the loop that are timed, after five that are not."""
    seconds: float = 5.0
    """How long the pipeline is timed alone."""
    out: Path = report.RESULTS
    """The folder of the JSON file."""


def main(arguments: list[str]) -> int:
    """Parses, measures, prints a table and writes the JSON file."""
    options = command.parse(Input, arguments)
    command.check_range(options, count=(1, None), steps=(1, None))
    command.set_up_jax()
    images = read_images(options)
    alone = rate(feed_of(images, options.batch_size), options.seconds)
    config = read_config(ch=options.ch, batch_size=options.batch_size)
    feed = feed_of(images, options.batch_size)
    waited, total = run_loop(make_training(config), feed, options.steps)
    row = {
        "source": options.source or f"{options.count:,} made up, in memory",
        "ch": options.ch,
        "batch_size": options.batch_size,
        "images_per_s": alone,
        "ms": 1000 * total / options.steps,
        "wait_share": waited / total,
    }
    print(table.render("input", [row]))
    stem = f"ch{options.ch}-batch{options.batch_size}"
    print(report.write(options.out, stem, jax.default_backend(), [row]))
    return 0


def read_images(options: Input) -> Images:
    """The images to train on, 32x32x3."""
    if options.source is not None:
        return load(options.source, image_size=(32, 32), channels=3).train
    shape = options.count, 32, 32, 3
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def feed_of(images: Images, batch_size: int) -> Iterator[Batch]:
    """The batches of a run from its first step on."""
    return batches(images, seed=0, start_step=0, batch_size=batch_size)


def rate(feed: Iterator[Batch], seconds: float) -> float:
    """Images per second of the pipeline alone, after its first batch."""
    next(feed)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        count += len(next(feed).images)
    return count / (time.perf_counter() - began)


def run_loop(
    training: Training, feed: Iterator[Batch], steps: int
) -> tuple[float, float]:
    """Trains, and returns the seconds spent on input and the seconds in all."""
    step, state, _, key = training
    waits, ends, metrics = [], [], []
    for _ in range(5 + steps):
        began = time.perf_counter()
        batch = parallel.shard(next(feed))
        waits.append(time.perf_counter() - began)
        state, scalars = step(state, batch, key)
        metrics.append(scalars)
        jax.block_until_ready(metrics[-1 - STEPS_IN_FLIGHT :][0])
        ends.append(time.perf_counter())
    return sum(waits[5:]), ends[-1] - ends[4]


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
