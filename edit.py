"""Edits pictures with a trained model: python edit.py --workdir runs/digits --help."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import CascadeSubcommandArgs
from tyro.conf import OmitArgPrefixes
from tyro.conf import OmitSubcommandPrefixes
from tyro.conf import configure

from ddpm_jax import command
from ddpm_jax.config import Fit
from ddpm_jax.denoise_mode import Denoise
from ddpm_jax.edit_modes import Colourise
from ddpm_jax.edit_modes import Deblur
from ddpm_jax.edit_modes import Img2img
from ddpm_jax.edit_modes import Inpaint
from ddpm_jax.edit_modes import Upscale
from ddpm_jax.files import check_folder


@configure(CascadeSubcommandArgs, OmitArgPrefixes, OmitSubcommandPrefixes)
@dataclass(frozen=True, kw_only=True)
class Edit(command.TrainedOptions):
    """Edits pictures with a trained model that was told nothing of the task.

    edit.py MODE --help lists what a mode takes. Pictures are brought to the model's
    size, in upscale to that divided by --factor. What becomes of a picture depends on
    it, the seed and the number of the variation alone.
    """

    mode: Inpaint | Img2img | Upscale | Colourise | Deblur | Denoise
    """What to do."""
    out: Path = Path("edited")
    """The folder for NAME_0.png, NAME_1.png, ... and before_after.png."""
    num: int = 1
    """Variations of each picture."""
    seed: int = 0
    """Which variations."""
    label: tuple[str, ...] = ()
    """Classes of what is drawn, if the model was trained with labels, their numbers or
    their names: one for all pictures, or one for each."""
    guidance: float = 1.0
    """Classifier-free guidance towards the label; 1 is none, 2 a usual scale."""
    fit: Fit = "crop"
    """How a picture of another size is brought to the right one; see docs/data.md."""
    batch_size: int = 64
    """Pictures edited at a time."""


def main(arguments: list[str]) -> int:
    """Parses, edits, and prints where the pictures are."""
    options = command.parse(Edit, arguments)
    command.check_range(options, num=(1, None), batch_size=(1, None))
    command.check_range(options, seed=(0, 2**32 - 1))
    check_folder(options.out, "--out")
    command.set_up_jax()
    from ddpm_jax import classes
    from ddpm_jax import loading
    from ddpm_jax.edit_files import write_edits

    trained = loading.load_model(options)
    loading.check_has_classes(trained, options.label)
    label = classes.numbers_of(options.label, trained.classes)
    remarks = options.mode.remarks(trained.parts)
    named = classes.describe(label, trained.classes)
    print("\n".join([loading.describe(trained), *named, *remarks]))
    written = write_edits(
        options.out,
        trained,
        options.mode,
        fit=options.fit,
        num=options.num,
        seed=options.seed,
        batch_size=options.batch_size,
        label=label,
        guidance=options.guidance,
    )
    print("\n".join(f"wrote {path}" for path in written))
    return 0


if __name__ == "__main__":
    command.leave(command.run(main, sys.argv[1:]))
