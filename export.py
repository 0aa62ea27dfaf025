"""Writes a trained model for other programs: python export.py --workdir runs/cifar."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ddpm_jax import command
from ddpm_jax.config import Sampler


@dataclass(frozen=True)
class Export(command.TrainedOptions):
    """Writes a trained model for diffusers, for this project, or as a program."""

    format: Literal["diffusers", "safetensors", "stablehlo"] = "diffusers"
    """A folder for DDPMPipeline, a file of weights, or the sampler as a program."""
    out: Path | None = None
    """The new folder, or the file of weights."""
    sampler: Sampler | None = None
    """The chain of a program, as of sample.py, or the scheduler of a folder, ddpm or
    ddim; the model's own if not given."""
    steps: int | None = None
    """Steps of a program; all that the model was trained on if not given."""
    label: tuple[str, ...] = ()
    """The classes that a program draws, one after another, if the model knows any:
    their numbers, or their names."""
    guidance: float = 1.0
    """Its classifier-free guidance towards the label; 1 is none."""


def main(arguments: list[str]) -> int:
    """Parses, exports, and prints what was written."""
    options = command.parse(Export, arguments)
    command.set_up_jax()
    from ddpm_jax import exporting
    from ddpm_jax import loading
    from ddpm_jax import sampling

    if options.out is None:
        raise ValueError("give --out, where to write")
    check_options(options)
    if options.format == "diffusers" and options.sampler is not None:
        exporting.check_sampler(options.sampler)
    exporting.check_out(options.out, options.format)
    trained = loading.load_model(options)
    print(loading.describe(trained))
    if options.format == "diffusers":
        written = exporting.export_diffusers(trained, options.out, options.sampler)
    elif options.format == "safetensors":
        written = exporting.export_safetensors(trained, options.out)
    else:
        chain = sampling.choose_chain(trained, options)
        written = exporting.export_sampler(trained, options.out, chain)
    print("\n".join(f"wrote {path}" for path in written))
    return 0


def check_options(options: Export) -> None:
    """Raises ValueError for an option of a chain that a format has no place for."""
    for name in ("sampler", "steps", "label", "guidance"):
        kept = ("stablehlo", "diffusers") if name == "sampler" else ("stablehlo",)
        given = getattr(options, name) != getattr(Export, name)
        if given and options.format not in kept:
            raise ValueError(
                f"--format {options.format} keeps no --{name}; leave it out, or give "
                f"--format {' or '.join(kept)}"
            )


if __name__ == "__main__":
    command.leave(command.run(main, sys.argv[1:]))
