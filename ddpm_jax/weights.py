"""Weights in one file: safetensors, with the config inside, and no pickle.

A checkpoint holds what training needs; this holds what sampling needs, in a file that
can be handed on. Tensors are named by their path in the tree, such as
"params/conv_in/kernel".
"""

import json
import os
from pathlib import Path
from typing import Any
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ddpm_jax.files import replacing
from ddpm_jax.trees import named
from ddpm_jax.trees import tree_of

SUFFIX = ".safetensors"


class Stored(NamedTuple):
    """What a file of weights holds."""

    params: Any  # a tree of float32 NumPy arrays
    step: int
    config: dict[str, Any]
    ema: bool = True
    origin: str | None = None  # what it is if no run of this project trained it
    sampler: str = "ddpm"  # that its authors draw with
    spacing: str = "uniform"  # of the steps of a short chain, as its authors draw
    classes: tuple[str, ...] = ()  # names of the labels that the network knows


def with_suffix(path: str | os.PathLike[str]) -> Path:
    """A path that ends in .safetensors, whatever dots it has.

    Example:
      >>> with_suffix("m0.5").name, with_suffix("m.safetensors").name
      ('m0.5.safetensors', 'm.safetensors')
    """
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def save_weights(
    path: str | os.PathLike[str],
    params: Any,  # noqa: ANN401
    *,
    step: int,
    config: dict[str, Any],
    dtype: DTypeLike = jnp.float32,
    ema: bool = True,
    origin: str | None = None,
    sampler: str = "ddpm",
    spacing: str = "uniform",
    classes: tuple[str, ...] = (),
) -> Path:
    """Writes a tree of weights as dtype, with the step and the config of its run.

    ema, origin, sampler, spacing and classes are as of `Stored`.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> params = {"params": {"w": np.ones(2, np.float32)}}
      >>> path = save_weights(folder / "ema", params, step=3, config={"seed": 0})
      >>> load_weights(path)[1:3]
      (3, {'seed': 0})
    """
    from safetensors.flax import save

    path = with_suffix(path)
    tensors = {name: jnp.asarray(leaf, dtype) for name, leaf in named(params).items()}
    own = {"sampler": sampler, "spacing": spacing, "classes": classes}
    about = {"ema": ema, "origin": origin, **own}
    metadata = {
        "step": str(step),
        "config": json.dumps(config),
        "about": json.dumps(about),
    }
    with replacing(path) as file:
        file.write(save(tensors, metadata))
    return path


def read_tensors(
    path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors of a safetensors file in their own types, and its metadata.

    Raises:
      FileNotFoundError, ValueError: one sentence, if the file is not there or damaged.
    """
    from safetensors import SafetensorError
    from safetensors import safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        # Not "numpy", which does not know bfloat16.
        with safe_open(path, framework="flax") as file:
            names = file.keys()
            tensors = {name: np.asarray(file.get_tensor(name)) for name in names}
            return tensors, file.metadata() or {}
    except AttributeError:
        # NumPy lacks the types of a byte and less; safetensors looks for them there.
        raise ValueError(
            f"{path} has numbers of a type that is not read here; give a file of "
            "float32, float16 or bfloat16"
        ) from None
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file: {error}; get it again"
        ) from None


def load_weights(path: str | os.PathLike[str]) -> Stored:
    """Reads what `save_weights` wrote.

    Raises:
      FileNotFoundError, ValueError: one sentence, if the file is not there, is damaged
        or holds no config of this project.
    """
    tensors, metadata = read_tensors(path)
    if not {"step", "config"} <= set(metadata):
        raise ValueError(
            f"{path} has no config inside; give a file that export.py wrote, or the "
            "whole folder of diffusers that this one is from"
        )
    arrays = {name: np.asarray(x, np.float32) for name, x in tensors.items()}
    try:
        config = json.loads(metadata["config"])
        if not isinstance(config, dict):
            raise ValueError(f"its config is {config!r:.80}")
        return Stored(
            tree_of(arrays),
            int(metadata["step"]),
            config,
            **stored_about(json.loads(metadata.get("about", "{}"))),
        )
    except ValueError as error:
        raise ValueError(
            f"{path} is no file of this project: {error}; give one that export.py wrote"
        ) from None


def stored_about(found: object) -> dict[str, Any]:
    """What a file says of its weights, checked.

    The first files did not say, and those after them not with which sampler.

    Raises:
      ValueError: if it says something else.

    Example:
      >>> stored_about({"ema": False, "origin": None, "spacing": "leading"})["sampler"]
      'ddpm'
    """
    match {"sampler": "ddpm", "classes": [], **found} if isinstance(found, dict) else 0:
        case {
            "ema": bool() as ema,
            "origin": None | str() as origin,
            "sampler": str() as sampler,
            "spacing": str() as spacing,
            "classes": list() as classes,
        } if all(isinstance(name, str) for name in classes):
            own = {"sampler": sampler, "spacing": spacing, "classes": tuple(classes)}
            return {"ema": ema, "origin": origin, **own}
        case {"sampler": _, "classes": _, **rest} if not rest:
            return {}
    raise ValueError(f"what it says of its weights is {found!r:.80}")
