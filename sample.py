"""Draws images from a trained model: python sample.py --workdir runs/digits."""

import dataclasses
import sys
from pathlib import Path

from ddpm_jax import command
from ddpm_jax.files import check_folder


@dataclasses.dataclass(frozen=True)
class Sample(command.ChainOptions, command.TrainedOptions):
    """Draws images from a trained model, or noises a picture with --forward.

    Needs only the workdir of a run. Image i depends on the seed and i alone, whatever
    --num and --batch-size are. Images are written as they come: after an interruption
    the same command goes on.
    """

    num: int = 64
    """How many images."""
    start: int = 0
    """The number of the first image; several machines can so share a draw."""
    seed: int = 0
    """Which images."""
    out: Path = Path("samples")
    """The folder for grid.png and samples.npz (uint8 [N, H, W, C] under arr_0)."""
    batch_size: int = 64
    """Images drawn at a time."""
    progressive: bool = False
    """Also write the chains of the first 8 images: two strips and an animation."""
    frames: int = 10
    """Steps that a strip shows, beside its end."""
    forward: Path | None = None
    """Draw the forward process of this picture instead; needs no workdir."""


def check_forward(options: Sample) -> None:
    """Raises ValueError if --forward is given beside what it does not read."""
    read = ("forward", "workdir", "out", "seed", "frames")
    for field in dataclasses.fields(options):
        got = getattr(options, field.name)
        if field.name not in read and got != field.default:
            flag = ("no-" if got is False else "") + field.name.replace("_", "-")
            raise ValueError(
                f"--{flag} is of a draw, and --forward, which noises a picture, takes "
                "--workdir, --out, --seed and --frames alone; leave it out"
            )


def check_frames(options: Sample) -> None:
    """Raises ValueError if --frames is given to a draw that shows none."""
    if options.frames != Sample.frames and not options.progressive:
        raise ValueError(
            "--frames is of --progressive and of --forward; give one of them, or leave "
            "it out"
        )


def main(arguments: list[str]) -> int:
    """Parses, draws, and prints where the pictures are."""
    options = command.parse(Sample, arguments)
    command.check_range(options, num=(1, None), batch_size=(1, None), frames=(2, None))
    command.check_range(options, start=(0, 2**31 - 1), seed=(0, 2**32 - 1))
    command.set_up_jax()
    check_folder(options.out, "--out")
    picture = options.forward
    written = draw(options) if picture is None else noise(options, picture)
    print("\n".join(f"wrote {path}" for path in written))
    return 0


def draw(options: Sample) -> list[Path]:
    """Draws images, and the chains of some if asked for; returns the files."""
    from ddpm_jax import chains
    from ddpm_jax import classes
    from ddpm_jax import drawing
    from ddpm_jax import loading
    from ddpm_jax import sampling

    check_frames(options)
    trained = loading.load_model(options)
    chain = sampling.choose_chain(trained, options)
    if options.progressive and not chain.takes_all_steps():
        raise ValueError(
            "--progressive shows the paper's chain of all steps; give --sampler ddpm, "
            "and leave out --steps, --spacing, --eta and --threshold"
        )
    chains.check_chain(trained.parts, chain)
    if options.progressive:
        total = trained.parts.schedule.num_timesteps
        sampling.even_steps(total, options.frames)  # for its error
    named = classes.describe(chain.label, trained.classes)
    print("\n".join([loading.describe(trained), *named]))
    if options.num < len(chain.label):
        print(f"remark: {options.num} of the {len(chain.label)} labels are drawn")
    if chain.sampler != (options.sampler or "ddpm"):
        print(f"drawn with {chain.sampler}, as its authors do; or give --sampler")
    options.out.mkdir(parents=True, exist_ok=True)
    which = {"start": options.start, "seed": options.seed}
    size = options.batch_size
    written = drawing.write_samples(
        options.out, trained, chain, num=options.num, batch_size=size, **which
    )
    if options.progressive:
        num, count = min(options.num, 8), options.frames
        written += drawing.write_chain(
            options.out, trained, chain, num=num, count=count, **which
        )
    return written


def noise(options: Sample, picture: Path) -> list[Path]:
    """Draws the forward process of a picture; returns the file."""
    from ddpm_jax import drawing

    check_forward(options)
    workdir, seed, count = options.workdir, options.seed, options.frames
    return [
        drawing.write_forward(
            options.out, picture, workdir=workdir, seed=seed, count=count
        )
    ]


if __name__ == "__main__":
    command.leave(command.run(main, sys.argv[1:]))
