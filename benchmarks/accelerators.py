"""What a run would take on accelerators that are not here.

python -m benchmarks.accelerators --config configs/cifar.py

For TPUs the TPU compiler makes the program of the train step, for which no TPU is
needed (pip install -e ".[tpu]"), and counts operations, bytes and memory. What a
GPU would compute is taken from the CPU's count. The rest is arithmetic, a chip at a
time, with B images on it:

    compute    = operations / (peak * share)
    memory     = bytes read and written / bandwidth of the memory
    all-reduce = 2 (n - 1) / n * 4 bytes * parameters / bandwidth of the links
    step       = max(compute, memory), and all-reduce where it exceeds 2/3 of that
    run        = steps * step, and its cost = run * n * price

The backward pass takes two thirds of a step, and the all-reduce hides behind it: from
B = all-reduce / (2/3 of an image's time) on, it costs nothing.
"""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax

from benchmarks import report
from benchmarks import table
from benchmarks.ours import read_config
from benchmarks.work import Dtype
from ddpm_jax import command
from ddpm_jax.build import build
from ddpm_jax.config import Config
from ddpm_jax.data import Batch
from ddpm_jax.devices import memory_of
from ddpm_jax.parallel import check_batch_size
from ddpm_jax.parallel import map_step
from ddpm_jax.run import initial_state
from ddpm_jax.run import optimiser_of
from ddpm_jax.run import step_of


class Chip(NamedTuple):
    """A machine's worth of chips, and what their maker says of one."""

    number: int
    topology: dict[str, str]  # what the TPU compiler calls them; empty for GPUs
    peak: float  # bfloat16 operations per second
    memory: float  # bytes
    bandwidth: float  # of the memory, bytes per second
    links: float  # bytes per second of an all-reduce
    price: float  # US dollars per hour, a list price: put yours in its place


# The TPUs' links: the all-reduce bandwidth of a pod over its chips.
CHIPS = {
    # Two cores of a chip are two devices to the compiler; each has half of the chip.
    "TPU v4 core": Chip(
        *(8, {"topology_name": "v4:2x2x1"}), *(137.5e12, 16e9, 0.6e12, 134e9, 1.61)
    ),
    "TPU v5e": Chip(
        *(8, {"topology_name": "v5e:2x4"}), *(197e12, 16e9, 0.8e12, 200e9, 1.20)
    ),
    "TPU v6e": Chip(
        *(8, {"topology_name": "v6e:2x4"}), *(918e12, 32e9, 1.6e12, 400e9, 2.70)
    ),
    "H100 SXM": Chip(*(8, {}), *(989e12, 80e9, 3.35e12, 450e9, 3.00)),
}


class Program(NamedTuple):
    """A compiler's account of a train step, on one chip."""

    operations: float
    bytes_moved: float | None  # None if only this chip's own compiler could tell
    memory: float | None


@dataclass(frozen=True)
class Accelerators:
    """Estimates hours and cost of a run on chips that are not here."""

    config: Path = report.ROOT / "configs" / "cifar.py"
    """The config file."""
    chips: tuple[str, ...] = tuple(CHIPS)
    """Which chips."""
    batch_size: int | None = None
    """Images of a step on all chips; None: the config's."""
    dtype: Dtype = "bfloat16"
    """Type of the large layers."""
    share: float = 0.4
    """Of the peak that a step reaches: an assumption, until one was measured."""
    account_of: str | None = None
    """Compile for this kind of TPU only, and take its account for all (a compilation
    takes minutes); None: for each."""
    out: Path = report.RESULTS
    """The folder of the JSON file."""


def main(arguments: list[str]) -> int:
    """Parses, compiles, calculates, prints a table and writes the JSON file."""
    options = command.parse(Accelerators, arguments)
    for name in (*options.chips, options.account_of or options.chips[0]):
        if name not in CHIPS:
            raise ValueError(f"there is no chip {name}; there are {', '.join(CHIPS)}")
    # The TPU compiler would ask a machine's server what TPU it has.
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    jax.config.update("jax_platforms", "cpu")
    config = read_config(
        options.config, batch_size=options.batch_size, dtype=options.dtype
    )
    shared = None
    if options.account_of is not None:
        shared = account(CHIPS[options.account_of], config)
    rows = [row(name, config, options, shared) for name in options.chips]
    print(table.render("accelerators", rows))
    batch = config.train.batch_size
    stem = f"{options.config.stem}-batch{batch}-{options.dtype}"
    print(report.write(options.out, stem, "", rows))
    return 0


def row(
    name: str, config: Config, options: Accelerators, shared: Program | None
) -> report.Row:
    """The estimate for one kind of chip; shared is the account for all TPUs, if any."""
    chip, batch = CHIPS[name], config.train.batch_size
    check_batch_size(batch, chip.number)
    own = shared is None or not chip.topology
    program = account(chip, config) if own else shared
    assert program is not None
    return {
        "config": options.config.name,
        "chip": f"{chip.number} x {name}",
        "account": "CPU" if not chip.topology else options.account_of or name,
        "images": batch // chip.number,
        "gflop": program.operations / 1e9,
        "gb_moved": in_giga(program.bytes_moved),
        "gb_needed": in_giga(program.memory),
        "gb_there": chip.memory / 1e9,
        "price": chip.price,
        "share": options.share,
        **estimate(
            chip,
            program,
            images=batch // chip.number,
            parameters=parameter_count(config),
            steps=config.train.steps,
            share=options.share,
        ),
    }


def estimate(
    chip: Chip,
    program: Program,
    *,
    images: int,
    parameters: int,
    steps: int,
    share: float,
) -> report.Row:
    """The arithmetic of the docstring of this file: milliseconds, hours and dollars."""
    compute = program.operations / (chip.peak * share)
    memory = (program.bytes_moved or 0) / chip.bandwidth
    volume = 2 * (chip.number - 1) / chip.number * 4 * parameters
    all_reduce, alone = volume / chip.links, max(compute, memory)
    hidden = 2 / 3 * alone
    hours = steps * (alone + max(all_reduce - hidden, 0)) / 3600
    return {
        "compute_ms": 1000 * compute,
        "memory_ms": 1000 * memory if memory else None,
        "all_reduce_mb": volume / 1e6,
        "all_reduce_ms": 1000 * all_reduce,
        "hides_from": all_reduce / (hidden / images),
        "hours": hours,
        "cost": hours * chip.number * chip.price,
    }


def in_giga(size: float | None) -> float | None:
    """A size in thousand millions, if it is known."""
    return None if size is None else size / 1e9


def parameter_count(config: Config) -> int:
    """The number of parameters of a config's network."""
    state = jax.eval_shape(
        partial(initial_state, build(config), optimiser_of(config)), jax.random.key(0)
    )
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


def account(chip: Chip, config: Config) -> Program:
    """Compiles the train step for the chips, and reads what it will take of each.

    Where a chip has no compiler here, a CPU's counts stand for it, but not its bytes,
    which depend on what a compiler fuses.
    """
    devices = devices_of(chip)
    parts, optimiser = build(config), optimiser_of(config)
    mapped = map_step(step_of(config, parts, optimiser), 1, devices)
    initial = partial(initial_state, parts, optimiser)
    state = jax.eval_shape(initial, jax.random.key(0))
    rows = config.train.batch_size // chip.number, *parts.shape
    batch = Batch(jax.ShapeDtypeStruct((len(devices), *rows), "uint8"))
    key = jax.eval_shape(lambda: jax.random.key(0))
    compiled = mapped.lower(state, batch, key).compile()
    costs, needed = compiled.cost_analysis(), memory_of(compiled)
    assert costs is not None and needed is not None
    if not chip.topology:
        return Program(float(costs["flops"]), None, None)
    return Program(
        float(costs["flops"]), float(costs["bytes accessed"]), float(needed.total)
    )


def devices_of(chip: Chip) -> list[jax.Device]:
    """Descriptions of TPUs for the compiler, or a CPU to count on."""
    if not chip.topology:
        here: list[jax.Device] = jax.local_devices()
        return here[:1]
    from jax.experimental import topologies

    described = topologies.get_topology_desc(platform="tpu", **chip.topology)
    return list(described.devices)


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
