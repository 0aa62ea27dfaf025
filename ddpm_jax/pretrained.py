"""Models of other projects: from a folder, a file or a hub id to a config and weights.

What is read is whole or refused: every tensor that the network of the config has, in
its shape, and no other.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import optax

from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.config import NOT_GIVEN
from ddpm_jax.config import Config
from ddpm_jax.interop.diffusers import completed
from ddpm_jax.interop.diffusers import is_diffusers
from ddpm_jax.interop.diffusers import read_folder
from ddpm_jax.interop.diffusers import shapes_in
from ddpm_jax.interop.names import diffusers_name
from ddpm_jax.interop.original import is_original
from ddpm_jax.interop.original import read_original
from ddpm_jax.interop.tensors import Shapes
from ddpm_jax.interop.tensors import to_params
from ddpm_jax.transfer import shapes
from ddpm_jax.trees import named
from ddpm_jax.trees import tree_of
from ddpm_jax.validation import from_dict

PROGRAM, PROGRAM_WEIGHTS = "sampler.jax_export", "weights.safetensors"
"""The files of a sampler that export.py wrote as a program."""


class Pretrained(NamedTuple):
    """A model of another project."""

    config: Config
    params: optax.Params
    sampler: str  # that its authors draw with
    spacing: str  # of the steps of a short chain
    origin: str  # what it is, in a few words


def is_pretrained(path: Path) -> bool:
    """Whether a path is a model of another project that this one reads."""
    return is_diffusers(path) or is_original(path)


def refusal(path: Path) -> str:
    """Why a path that is there is no model, and which ones there are."""
    if (path / PROGRAM).is_file():
        return (
            f"{path} is a sampler as a program, which runs without this project and is "
            f"not read by it; give its weights, {path / PROGRAM_WEIGHTS}"
        )
    return (
        f"{path} is no model that is read here; give a folder of diffusers, owner/name "
        "of one on the Hugging Face hub, a checkpoint of the original TensorFlow code "
        "or its variables as .npz, a .ckpt of pesser's, or a run or .safetensors file "
        "of this project"
    )


def read_pretrained(path: Path, *, ema: bool = True) -> Pretrained:
    """Reads a model of another project; ema chooses averages where there are both.

    Raises:
      FileNotFoundError, ValueError: one sentence that names the key or the tensor.
    """
    return (read_diffusers if is_diffusers(path) else read_other)(path, ema=ema)


def read_diffusers(path: Path, *, ema: bool) -> Pretrained:
    """Reads a folder of diffusers, whose weights are what its authors chose."""
    if not ema:
        raise ValueError(f"{path} holds one set of weights; leave out --no-ema")
    folder = read_folder(path)
    config = config_of(folder.config, path)
    network = shapes_of(build(config))
    stored = to_params(
        folder.tensors,
        shapes_in(folder, network),
        naming=diffusers_name,
        levels=len(config.model.ch_mult),
        torch=True,
        source=path,
    )
    params = tree_of(completed(folder, named(stored["params"]), network))
    origin = f"{path}, a folder of diffusers"
    if folder.sampler != "ddpm":
        origin += f", whose own sampler is {folder.sampler}"
    return Pretrained(
        config, {"params": params}, folder.sampler, folder.spacing, origin
    )


def read_other(path: Path, *, ema: bool) -> Pretrained:
    """Reads weights of the original code, or pesser's."""
    model = read_original(path, ema=ema)
    config = config_of(model.config, path)
    params = to_params(
        model.tensors,
        shapes_of(build(config)),
        naming=model.naming,
        levels=len(config.model.ch_mult),
        torch=model.torch,
        source=path,
    )
    return Pretrained(config, params, "ddpm", "uniform", model.origin)


def config_of(sections: dict[str, dict[str, object]], source: object) -> Config:
    """The config of sections that another project's files made up."""
    data = {"source": NOT_GIVEN, **sections.get("data", {})}
    try:
        return from_dict({**sections, "data": data})
    except ValueError as error:
        raise ValueError(f"{source} is no model of this project: {error}") from None


def shapes_of(parts: Parts) -> Shapes:
    """The shape of each tensor of a network, by its path below "params".

    Example:
      >>> from ddpm_jax.config import Data, Model
      >>> data = Data(image_size=(8, 8), channels=1)
      >>> model = Model(ch=4, ch_mult=(1,), num_groups=2)
      >>> shapes_of(build(Config(data=data, model=model)))["conv_in/kernel"]
      (3, 3, 1, 4)
    """
    tree = jax.eval_shape(partial(init_params, parts), jax.random.key(0))["params"]
    return shapes(tree)
