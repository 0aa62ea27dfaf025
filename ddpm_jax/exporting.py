"""A trained model in the forms that other programs read."""

import dataclasses
import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from ddpm_jax.chains import Chain
from ddpm_jax.chains import check_chain
from ddpm_jax.chains import remarks
from ddpm_jax.chains import sample_images
from ddpm_jax.files import check_can_be_made
from ddpm_jax.files import check_new_folder
from ddpm_jax.files import new_folder
from ddpm_jax.interop.diffusers_out import write_folder
from ddpm_jax.interop.scheduler_config import SAMPLERS
from ddpm_jax.loading import Trained
from ddpm_jax.pretrained import PROGRAM
from ddpm_jax.pretrained import PROGRAM_WEIGHTS
from ddpm_jax.trees import named
from ddpm_jax.weights import SUFFIX
from ddpm_jax.weights import save_weights
from ddpm_jax.weights import with_suffix

PLATFORMS = ("cpu", "cuda", "tpu")
INSTALL = 'pip install "ddpm_jax[export]"'


def check_out(out: Path, form: str) -> None:
    """Raises ValueError, OSError or ModuleNotFoundError if out can't be written.

    form is that of export.py: a file of weights, or else a folder.
    """
    if form == "stablehlo" and importlib.util.find_spec("flatbuffers") is None:
        raise ModuleNotFoundError(
            f"a program is stored with one more package: {INSTALL}"
        )
    if form != "safetensors":
        check_new_folder(out)
        return
    if out.suffix != SUFFIX:
        raise ValueError(
            f"{out} does not end in {SUFFIX}, as a file of weights must; give "
            f"{with_suffix(out)}"
        )
    if out.is_dir():
        raise ValueError(f"{out} is a folder; give a file, such as ema.safetensors")
    if out.exists():
        raise ValueError(f"{out} is there already; give another, or remove it")
    check_can_be_made(out)


def export_diffusers(
    trained: Trained, out: Path, sampler: str | None = None
) -> list[Path]:
    """Writes a folder for diffusers' DDPMPipeline, or its DDIMPipeline.

    sampler is ddpm or ddim; the model's own if None. The spacing is the model's own,
    but for ddim of a run trailing.

    Raises:
      ValueError: if diffusers has no such model, or out is not empty.
    """
    tensors = {
        name.removeprefix("params/"): array for name, array in flat(trained).items()
    }
    sampler = sampler or trained.sampler
    check_sampler(sampler)
    spacing = trained.spacing
    if (sampler, spacing, trained.origin) == ("ddim", "uniform", None):
        # Their DDIM steps down by T // S, which ends where it asks next with this one
        # only: it is the nearest to a run's uniform, as docs/pretrained.md measures.
        spacing = "trailing"
    write_folder(
        out,
        dataclasses.asdict(trained.config),
        tensors,
        sampler=sampler,
        spacing=spacing,
    )
    return [out]


def check_sampler(sampler: str) -> None:
    """Raises ValueError unless a folder of diffusers can be for a sampler."""
    if sampler not in SAMPLERS.values():
        raise ValueError(
            f"sampler is {sampler!r}; a folder of diffusers is for one of "
            f"{', '.join(SAMPLERS.values())}"
        )


def export_safetensors(trained: Trained, out: Path) -> list[Path]:
    """Writes the weights in one file with the config inside: for this project's use.

    Raises:
      ValueError, OSError: as `check_out`.
    """
    check_out(out, "safetensors")
    try:
        return [save(trained, out)]
    except OSError as error:
        raise OSError(f"{out} can't be written: {error.strerror}") from None


def save(trained: Trained, path: Path) -> Path:
    """Writes the weights, and all that is known of them."""
    return save_weights(
        path,
        trained.params,
        step=trained.step,
        config=dataclasses.asdict(trained.config),
        ema=trained.ema,
        origin=trained.origin,
        sampler=trained.sampler,
        spacing=trained.spacing,
        classes=trained.classes,
    )


def export_sampler(trained: Trained, out: Path, chain: Chain) -> list[Path]:
    """Writes the chain as StableHLO, and the weights beside it, into a new folder.

    The program is (weights, seed, numbers [b]) -> uint8 images [b, H, W, C] for any b,
    where the weights are what the file of weights holds. It needs JAX, and nothing of
    this project; it draws the images that sample.py does.

    Raises:
      ValueError: if the model does not allow the chain.
      ValueError, OSError, ModuleNotFoundError: as `check_out`.
    """
    check_out(out, "stablehlo")
    check_chain(trained.parts, chain)
    for line in remarks(trained.parts, chain):
        print(line)
    tensors = flat(trained)
    (batch,) = export.symbolic_shape("batch")
    abstract = (
        {
            name: jax.ShapeDtypeStruct(x.shape, jnp.float32)
            for name, x in tensors.items()
        },
        jax.ShapeDtypeStruct((), jnp.uint32),
        jax.ShapeDtypeStruct((batch,), jnp.uint32),
    )
    draw = jax.jit(partial(draw_numbered, trained=trained, chain=chain))
    program = export.export(draw, platforms=PLATFORMS)(*abstract)
    with new_folder(out) as draft:
        (draft / PROGRAM).write_bytes(program.serialize())
        save(trained, draft / PROGRAM_WEIGHTS)
    return [out / PROGRAM, out / PROGRAM_WEIGHTS]


def draw_numbered(
    tensors: dict[str, jax.Array],
    seed: jax.Array,
    numbers: jax.Array,
    *,
    trained: Trained,
    chain: Chain,
) -> jax.Array:
    """The images of a seed that numbers [b] name: uint8 [b, H, W, C]."""
    treedef = jax.tree.structure(trained.params)
    names = flat(trained)
    params = jax.tree.unflatten(treedef, [tensors[name] for name in names])
    shared = params, jax.random.key(seed)
    return sample_images(shared, numbers, parts=trained.parts, chain=chain)


def flat(trained: Trained) -> dict[str, Any]:
    """The weights by their names in a file, such as "params/conv_in/bias"."""
    return {name: np.asarray(leaf) for name, leaf in named(trained.params).items()}
