"""Writes a trained model for other programs: python export.py --workdir runs/cifar."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ddpm_jax import command


@dataclass(frozen=True)
class Export:
    """Writes a trained model for diffusers, for this project, or as a program."""

    workdir: Path | None = None
    """The folder of the run, or a .safetensors file of its weights."""
    pretrained: str | None = None
    """A model of another project instead: a path, or owner/name on Hugging Face."""
    format: Literal["diffusers", "safetensors", "stablehlo"] = "diffusers"
    """A folder for DDPMPipeline, a file of weights, or the sampler as a program."""
    out: Path | None = None
    """The new folder, or the file of weights."""
    step: int | None = None
    """Take the checkpoint of this training step; the newest if not given."""
    ema: bool = True
    """Take the running average of the parameters, as the paper does."""
    sampler: command.Sampler = "ddpm"
    """The chain of a program, as of sample.py."""
    steps: int | None = None
    """Its steps; all that the model was trained on if not given."""
    label: tuple[int, ...] = ()
    """The classes that a program draws, one after another, if the model knows any."""
    guidance: float = 1.0
    """Its classifier-free guidance towards the label; 1 is none."""


def main(arguments: list[str]) -> int:
    """Parses, exports, and prints what was written."""
    options = command.parse(Export, arguments)
    command.set_up_jax()
    from ddpm_jax import exporting
    from ddpm_jax import sampling
    from ddpm_jax.chains import Chain
    from ddpm_jax.chains import chain_of_options

    if options.out is None:
        raise ValueError("give --out, where to write")
    chosen = chain_of_options(options, "uniform") != Chain()
    if options.format != "stablehlo" and chosen:
        raise ValueError(
            "--sampler, --steps, --label and --guidance are for --format stablehlo"
        )
    trained = sampling.load_model(
        options.workdir, options.pretrained, step=options.step, ema=options.ema
    )
    print(sampling.describe(trained))
    if options.format == "diffusers":
        written = exporting.export_diffusers(trained, options.out)
    elif options.format == "safetensors":
        written = exporting.export_safetensors(trained, options.out)
    else:
        chain = chain_of_options(options, trained.spacing)
        written = exporting.export_sampler(trained, options.out, chain)
    print("\n".join(f"wrote {path}" for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main, sys.argv[1:]))
