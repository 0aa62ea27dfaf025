"""What the compiler says that a train step will take; nothing is computed.

python -m benchmarks.compiled_memory --config configs/celeba_hq256.py --devices 8
compiles the step of a config for as many virtual CPU devices. On an accelerator,
without --devices, it compiles for what is there.
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax

from benchmarks import report
from benchmarks import table
from benchmarks.ours import compile_training
from benchmarks.ours import read_config
from benchmarks.roofline import floating_point_operations
from benchmarks.work import Dtype
from ddpm_jax import command
from ddpm_jax import parallel
from ddpm_jax.config import Config
from ddpm_jax.devices import memory_of


@dataclass(frozen=True)
class CompiledMemory:
    """Compiles a train step and reports the memory that it will take."""

    config: Path = report.ROOT / "configs" / "celeba_hq256.py"
    """The config file."""
    devices: int | None = None
    """Virtual CPU devices; None: the devices that are there."""
    batch_size: int | None = None
    """Images of a step on all devices; None: the config's."""
    dtype: Dtype | None = None
    """Type of the large layers; None: the config's."""
    accumulate: int | None = None
    """Parts of a device's batch that are done in turn; None: the config's."""
    remat: bool | None = None
    """Compute each block again on the way back; None: the config's."""
    out: Path = report.RESULTS
    """The folder of the JSON file."""


def main(arguments: list[str]) -> int:
    """Parses, compiles, prints a table and writes the JSON file."""
    options = command.parse(CompiledMemory, arguments)
    if options.devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", options.devices)
    config = read_config(
        options.config,
        batch_size=options.batch_size,
        dtype=options.dtype,
        accumulate=options.accumulate,
        remat=options.remat,
    )
    parallel.check_batch_size(config.train.batch_size, jax.device_count())
    row = {"config": options.config.name, **measure(config)}
    print(table.render("compiled_memory", [row]))
    stem = f"{options.config.stem}-devices{row['devices']}-batch{row['rows']}"
    stem += f"-accumulate{row['accumulate']}-remat-{row['remat']}-{row['dtype']}"
    print(report.write(options.out, stem, jax.default_backend(), [row]))
    return 0


def measure(config: Config) -> report.Row:
    """The row of one config on the devices of this process."""
    began = time.perf_counter()
    step, _, _ = compile_training(config)
    seconds = time.perf_counter() - began
    needed = memory_of(step)
    if needed is None:
        raise ValueError(f"the compiler for {jax.default_backend()} does not say")
    return {
        "devices": jax.device_count(),
        "rows": config.train.batch_size // jax.device_count(),
        "dtype": config.model.dtype,
        "accumulate": config.train.accumulate,
        "remat": "yes" if config.model.remat else "no",
        "arguments_mib": needed.arguments / 2**20,
        "temporary_mib": needed.temporaries / 2**20,
        "total_mib": needed.total / 2**20,
        "gflop": floating_point_operations(step) / 1e9,
        "compile_s": seconds,
    }


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
