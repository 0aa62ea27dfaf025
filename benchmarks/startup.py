"""Times how this project starts, each time in a fresh process.

python -m benchmarks.startup measures `import ddpm_jax`, and the way to the end of the
first train step with an empty compilation cache and with the one that this left.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks import report
from benchmarks import table
from benchmarks.ratios import quartiles
from benchmarks.turns import PLATFORMS
from ddpm_jax import command

IMPORT = """
import json, time
began = time.perf_counter()
import ddpm_jax
print(json.dumps({"import_s": time.perf_counter() - began}))
"""


@dataclass(frozen=True)
class Startup:
    """Times the import and the first train step in fresh processes."""

    ch: int = 128
    """Channels of the first level of the CIFAR-10 network."""
    repeats: int = 5
    """Processes of each kind; a cold cache is tried once."""
    device: Literal["cpu", "gpu"] = "cpu"
    """What JAX finds here."""
    out: Path = report.RESULTS
    """The folder of the JSON file."""


def main(arguments: list[str]) -> int:
    """Parses, measures, prints a table and writes the JSON file."""
    options = command.parse(Startup, arguments)
    command.check_range(options, repeats=(1, None))
    step = ["-m", "benchmarks.first_step", str(options.ch)]
    with tempfile.TemporaryDirectory() as cache:
        environ = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PLATFORMS": PLATFORMS[options.device],
        }
        # The files are read from disk by the first process, which does not count.
        start(["-c", IMPORT], environ)
        imports = [start(["-c", IMPORT], environ) for _ in range(options.repeats)]
        cold = [start(step, environ)]
        warm = [start(step, environ) for _ in range(options.repeats)]
    rows = [
        summarise("import ddpm_jax", imports),
        {**summarise("train step alone, cold cache", cold), "ch": options.ch},
        {**summarise("train step alone, warm cache", warm), "ch": options.ch},
    ]
    print(table.render("startup", rows))
    print(report.write(options.out, f"ch{options.ch}", options.device, rows))
    return 0


def start(arguments: list[str], environ: dict[str, str]) -> dict[str, float]:
    """Runs Python: the seconds that it prints, and those of the whole process."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=report.ROOT,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        raise ChildProcessError("a process ended early; what it said is above")
    return {**json.loads(done.stdout), "seconds": seconds}


def summarise(what: str, times: list[dict[str, float]]) -> report.Row:
    """The row of some processes of one kind: medians, and quartiles of the whole."""
    spreads = {name: quartiles([time[name] for time in times]) for name in times[0]}
    medians = {name: median for name, (_, median, _) in spreads.items()}
    low, _, high = spreads["seconds"]
    return {"what": what, **medians, "low_s": low, "high_s": high}


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
