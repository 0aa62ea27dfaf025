"""What the scripts share: parsing, one-sentence errors, and JAX's compilation cache."""

import argparse
import contextlib
import dataclasses
import itertools
import os
import sys
import traceback
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import NoReturn
from typing import TypeVar
from typing import Union
from typing import get_args
from typing import get_origin
from typing import get_type_hints

import tyro

from ddpm_jax.best import Step
from ddpm_jax.config import Config
from ddpm_jax.config import Sampler
from ddpm_jax.config import flatten
from ddpm_jax.spelling import one_of
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
class TrainedOptions:
    """Which trained model a script takes; `loading.load_model` reads it."""

    workdir: Path | None = None
    """The folder of the run, or a .safetensors file of its weights."""
    pretrained: str | None = None
    """A model of another project instead: a path, or owner/name on Hugging Face."""
    step: Step | None = None
    """Take the checkpoint of this training step, or best; the newest if not given."""
    ema: bool = True
    """Take the running average of the parameters, as the paper does."""


@dataclasses.dataclass(frozen=True)
class ChainOptions:
    """By which chain a script draws; `sampling.choose_chain` reads it."""

    sampler: Sampler | None = None
    """ddpm is the paper's chain, and taken if not given, but for a folder of diffusers
    whose own is ddim; for all but ddpm give --steps, 10 to 50."""
    steps: int | None = None
    """Steps of the chain; all that the model was trained on if not given."""
    spacing: Spacing | None = None
    """Where the steps of a short chain lie; if not given the model's own, or uniform,
    and karras for heun and edm."""
    eta: float = 0.0
    """Noise of ddim, from 0, none, to 1, as much as the ancestral chain's."""
    label: tuple[str, ...] = ()
    """Classes to draw, one after another, of a model that was trained with labels:
    their names, or their numbers from 0 on."""
    guidance: float = 1.0
    """Classifier-free guidance towards the label; 1 is none, 2 a usual scale."""
    threshold: float | None = None
    """Dynamic thresholding: the quantile, such as 0.995; clipping if not given."""


def parse(kind: type[Options], arguments: list[str]) -> Options:
    """Parses arguments to a dataclass; one that extends Config reads --config FILE.

    What the file holds becomes the defaults of the fields. tyro answers --help, a
    misspelt field and a wrong type, and exits.

    Raises:
      ValueError: one sentence, for an option whose values would be lost, or for a word
        that is no choice, with the near one.
    """
    check_once(kind, arguments)
    check_not_empty(kind, arguments)
    check_choices(kind, arguments)
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


def check_once(kind: Any, arguments: list[str]) -> None:  # noqa: ANN401
    """Raises ValueError if an option of several values is given twice.

    Of other options the last one counts, as usual; here values would be lost.

    Example:
      >>> check_once(Config, ["--model.ch-mult", "1", "2", "--train.steps", "5"])
    """
    given = [flag_of(argument) for argument in arguments]
    for flag in flags(kind):
        if get_origin(flag.hint) is tuple and given.count(flag.name) > 1:
            raise ValueError(
                f"{flag.name} is given twice; give all its values behind one"
            )


def check_not_empty(kind: Any, arguments: list[str]) -> None:  # noqa: ANN401
    """Raises ValueError if an option that has no values by default is given none.

    Example:
      >>> check_not_empty(Config, ["--model.attention-resolutions"])  # which has one
    """
    empty = {flag.name for flag in flags(kind) if flag.default == ()}
    for argument, behind in itertools.pairwise([*arguments, "--"]):
        if argument.replace("_", "-") in empty and behind.startswith("--"):
            raise ValueError(f"{argument} has no value; give some, or leave it out")


def check_choices(kind: Any, arguments: list[str]) -> None:  # noqa: ANN401
    """Raises ValueError if an option of a few words is given another.

    Example:
      >>> check_choices(Config, ["--process.schedule", "cosine"])
    """
    known = {flag.name: literal_words(flag.hint) for flag in flags(kind)}
    for place, argument in enumerate(arguments):
        flag, equals, got = argument.partition("=")
        if not equals:
            got = next(iter(arguments[place + 1 :]), "")
        words = known.get(flag_of(argument))
        # What is left out, and a flag in its place, are tyro's to answer.
        if words and got and not got.startswith("--") and got not in words:
            said = [word for word in words if word != "None"]
            raise ValueError(f"{flag} is {got!r}{one_of(got, said)}")


def flag_of(argument: str) -> str:
    """The flag of an argument as tyro knows it.

    Example:
      >>> flag_of("--batch_size=3")
      '--batch-size'
    """
    return argument.partition("=")[0].replace("_", "-")


class Flag(NamedTuple):
    """A flag of a dataclass."""

    name: str
    hint: Any
    default: Any


def flags(kind: Any, prefix: str = "--") -> Iterator[Flag]:  # noqa: ANN401
    """The flags of a dataclass.

    The modes of a union stand for themselves, and so have no prefix.

    Example:
      >>> [flag for flag in flags(Config) if flag.name == "--log.keep"]
      [Flag(name='--log.keep', hint=<class 'int'>, default=2)]
    """
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name, hint = prefix + field.name.replace("_", "-"), hints[field.name]
        yield Flag(name, hint, field.default)
        if dataclasses.is_dataclass(hint):
            yield from flags(hint, f"{name}.")
        for mode in filter(dataclasses.is_dataclass, get_args(hint)):
            yield from flags(mode, prefix)


def literal_words(hint: Any) -> tuple[str, ...]:  # noqa: ANN401
    """The words that a type allows, None among them; () if it allows anything else.

    Example:
      >>> literal_words(Literal["a", "b"] | None), literal_words(int | Literal["a"])
      (('a', 'b', 'None'), ())
    """
    if hint is type(None):
        return ("None",)
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return parts if all(isinstance(word, str) for word in parts) else ()
    if get_origin(hint) not in (Union, UnionType):
        return ()
    found = [literal_words(part) for part in parts]
    return sum(found, ()) if all(found) else ()


def overrides(config: Config, wanted: Config) -> list[str]:
    """The flags that make of a config another one.

    Example:
      >>> from ddpm_jax.config import Model
      >>> overrides(Config(), Config(model=Model(remat=True, ch_mult=(1, 2))))
      ['--model.ch-mult', '1', '2', '--model.remat']
    """
    before, words = flatten(config), list[str]()
    for name, value in flatten(wanted).items():
        if value == before[name]:
            continue
        section, _, field = name.replace("_", "-").partition(".")
        if isinstance(value, bool):
            words.append(f"--{section}.{'' if value else 'no-'}{field}")
            continue
        many = value if isinstance(value, tuple) else (value,)
        words += [f"--{section}.{field}", *map(str, many)]
    return words


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


def leave(code: int) -> NoReturn:
    """Ends the process; after an interruption at once.

    At its end Python waits for what the devices compute, which can't be called off: for
    a chain of 1,000 steps, minutes, in which the locks are given back already. Whatever
    is to be on disk is there, as every file is closed by a `with`.
    """
    if code == EXIT_CODES[KeyboardInterrupt]:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


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
