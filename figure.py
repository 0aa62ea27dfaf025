"""Draws the figures of the paper: python figure.py --workdir runs/digits --help."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import CascadeSubcommandArgs
from tyro.conf import OmitArgPrefixes
from tyro.conf import OmitSubcommandPrefixes
from tyro.conf import configure

from ddpm_jax import command
from ddpm_jax.files import check_folder
from ddpm_jax.paper_figures.comparisons import Denoising
from ddpm_jax.paper_figures.comparisons import NearestNeighbours
from ddpm_jax.paper_figures.modes import Interpolate
from ddpm_jax.paper_figures.modes import Progressive
from ddpm_jax.paper_figures.modes import SharedLatents
from ddpm_jax.paper_figures.modes import Strips


@configure(CascadeSubcommandArgs, OmitArgPrefixes, OmitSubcommandPrefixes)
@dataclass(frozen=True, kw_only=True)
class Figure(command.TrainedOptions):
    """Draws a figure of a trained model, as the paper has them.

    figure.py KIND --help lists what a figure takes; docs/figures.md shows them.
    """

    kind: (
        Strips
        | Progressive
        | SharedLatents
        | Interpolate
        | NearestNeighbours
        | Denoising
    )
    """What to draw."""
    out: Path = Path("figures")
    """The folder for the files."""
    seed: int = 0
    """Of all that is drawn."""


def main(arguments: list[str]) -> int:
    """Parses, draws, and prints where the files are."""
    options = command.parse(Figure, arguments)
    command.check_range(options, seed=(0, 2**32 - 1))
    check_folder(options.out, "--out")
    command.set_up_jax()
    from ddpm_jax import labels
    from ddpm_jax import loading

    trained = loading.load_model(options)
    labels.check_unlabelled(trained.parts)
    print(loading.describe(trained))
    written = options.kind.write(options.out, trained, options.seed)
    print("\n".join(f"wrote {path}" for path in written))
    return 0


if __name__ == "__main__":
    command.leave(command.run(main, sys.argv[1:]))
