"""Measures a trained model: python evaluate.py --workdir runs/cifar --metrics nll."""

import sys
from dataclasses import dataclass
from pathlib import Path

from ddpm_jax import command
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.files import check_folder


@dataclass(frozen=True)
class Evaluate(Settings, command.TrainedOptions):
    """Measures a trained model; prints and stores each number with its protocol.

    Needs the workdir of a run, and its images. After an interruption the same command
    goes on.
    """

    metrics: str = "nll"
    """Which numbers, with commas between; docs/evaluation.md says what there is."""
    out: Path | None = None
    """The folder for metrics.json and tables; evaluation/ in the workdir if not given,
    or here for a file of weights or --pretrained."""


def main(arguments: list[str]) -> int:
    """Parses, measures, and prints what was found and where it is."""
    options = command.parse(Evaluate, arguments)
    command.check_range(options, batch_size=(1, None), seed=(0, 2**32 - 1))
    command.check_range(options, draws=(1, None), probes=(1, None))
    for name in ("num", "num_samples", "num_reference"):
        if getattr(options, name) is not None:
            command.check_range(options, **{name: (1, None)})
    command.set_up_jax()
    from ddpm_jax import loading
    from ddpm_jax.evaluation import records

    names = records.parse_metrics(options.metrics)
    if options.num is not None and not {"nll", "nll_ode"} & set(names):
        raise ValueError(
            "--num is of nll and nll_ode; give --num-samples, or --num-reference"
        )
    out = options.out or records.default_out(options.workdir)
    check_folder(out, "--out")
    trained = loading.load_model(options)
    print(loading.describe(trained))
    records.evaluate(out, trained, options, names)
    print(f"stored in {out / records.RECORDS}")
    return 0


if __name__ == "__main__":
    command.leave(command.run(main, sys.argv[1:]))
