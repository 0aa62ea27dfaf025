"""What the scripts share: parsing, one-sentence errors, and JAX's compilation cache."""

import argparse
import dataclasses
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from typing import TypeVar

import tyro

from ddpm_jax.best import Step
from ddpm_jax.config import Config
from ddpm_jax.config import Sampler as Sampler
from ddpm_jax.validation import load_config

Options = TypeVar("Options")

# Written out, as a script's help lists them; a test holds them to SPACINGS.
Spacing = Literal["uniform", "quadratic", "trailing", "leading", "log_snr", "karras"]

EXIT_CODES: dict[type[BaseException], int] = {
    KeyboardInterrupt: 130,
    ArithmeticError: 1,
    MemoryError: 1,
    ValueError: 2,
    OSError: 2,
    ModuleNotFoundError: 2,
    NotImplementedError: 2,
}


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which trained model a script takes; `sampling.load_model` reads it."""

    workdir: Path | None = None
    """The folder of the run, or a .safetensors file of its weights."""
    pretrained: str | None = None
    """A model of another project instead: a path, or owner/name on Hugging Face."""
    step: Step | None = None
    """Take the checkpoint of this training step, or best; the newest if not given."""
    ema: bool = True
    """Take the running average of the parameters, as the paper does."""


def parse(kind: type[Options], arguments: list[str]) -> Options:
    """Parses arguments to a dataclass; one that extends Config reads --config FILE.

    What the file holds becomes the defaults of the fields. tyro answers --help, a
    misspelt field and a wrong type, and exits.
    """
    prog = Path(sys.argv[0]).name
    if not issubclass(kind, Config):
        return tyro.cli(kind, args=arguments, prog=prog)
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config")
    path = finder.parse_known_args(arguments)[0].config
    if path is None:
        return tyro.cli(kind, args=arguments, prog=prog)
    values = vars(load_config(path))
    return tyro.cli(kind, args=arguments, default=kind(**values), prog=prog)


def config_of(options: Config) -> Config:
    """The Config in options that extend one."""
    names = [field.name for field in dataclasses.fields(Config)]
    return Config(**{name: getattr(options, name) for name in names})


def check_range(options: object, **bounds: tuple[int, int | None]) -> None:
    """Raises ValueError if a field of options lies outside its least and most value."""
    for name, (least, most) in bounds.items():
        got, flag = getattr(options, name), name.replace("_", "-")
        if got < least:
            raise ValueError(f"--{flag} is {got}; give at least {least}")
        if most is not None and got > most:
            raise ValueError(f"--{flag} is {got}; give at most {most}")


def set_up_jax() -> None:
    """Keeps compiled programs on disk, so that the next start is quick."""
    import jax
    import platformdirs

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = platformdirs.user_cache_path("ddpm_jax") / "jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))


def run(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Calls main and returns the exit code; expected errors become one sentence.

    130 after an interruption, 2 for wrong input, 1 for a run that failed. Under
    python -X dev the traceback is shown as well.
    """
    try:
        return main(arguments)
    except (Exception, KeyboardInterrupt) as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            error = MemoryError(
                "the memory does not suffice; try a smaller batch size, or, to train, "
                "--train.accumulate 4 or --model.remat"
            )
        codes = [code for kind, code in EXIT_CODES.items() if isinstance(error, kind)]
        if not codes:
            raise
        if sys.flags.dev_mode:
            traceback.print_exc()
        word = "interrupted" if codes[0] == 130 else "error"
        print(f"{word}: {error}".rstrip(": "), file=sys.stderr)
        return codes[0]
