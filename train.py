"""Trains a DDPM: python train.py --config configs/cifar.py."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from ddpm_jax import command
from ddpm_jax.config import Config
from ddpm_jax.validation import load_config


@dataclass(frozen=True)
class Train(Config):
    """Trains a DDPM, or goes on with the run that --workdir holds.

    --config names a Python file whose get_config() returns the fields below; each can
    be overridden here.
    """

    config: Path | None = None
    """The config file, such as configs/digits.py."""
    workdir: Path | None = None
    """Where the run is kept; runs/NAME for configs/NAME.py if not given."""
    allow_config_change: bool = False
    """Go on with the run in workdir even if its config was another."""


def main(arguments: list[str]) -> int:
    """Parses, trains, and returns the exit code."""
    options = command.parse(Train, arguments)
    if options.config is None:
        raise ValueError("give --config FILE, such as --config configs/digits.py")
    command.set_up_jax()
    from ddpm_jax.train_loop import train
    from ddpm_jax.workdir import AnotherConfigError

    try:
        train(
            command.config_of(options),
            options.workdir or Path("runs") / options.config.stem,
            allow_config_change=options.allow_config_change,
        )
    except AnotherConfigError as error:
        command_line = going_on(options, error.going_on, error.changes_steps)
        raise ValueError(f"{error}\n{command_line}") from None
    return 0


def going_on(options: Train, config: Config, changes_steps: bool) -> str:
    """Says which command goes on with the run in the workdir as it was."""
    assert options.config is not None
    words = ["python", "train.py", "--config", str(options.config)]
    if options.workdir is not None:
        words += ["--workdir", str(options.workdir)]
    words += command.overrides(load_config(options.config), config)
    if changes_steps:
        words.append("--allow-config-change")
    steps, line = config.train.steps, shlex.join(words)
    return f"The run as it was goes on, to step {steps}, with\n  {line}"


if __name__ == "__main__":
    command.leave(command.run(main, sys.argv[1:]))
