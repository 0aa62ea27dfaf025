"""Tensors of another project, put into the tree of this network's parameters, and back.

PyTorch keeps the kernel of a convolution as [out, in, height, width] and that of a
dense layer as [out, in]; Flax and the original TensorFlow code as [height, width, in,
out] and [in, out]. A dense layer over the channels is a convolution of 1 x 1 there, in
some layers.
"""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from ddpm_jax.interop.names import Naming
from ddpm_jax.trees import tree_of

TABLES = "/embedding"
"""The end of the name of a table of vectors, whose axes are the same everywhere."""

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of every tensor that the network has, by its name here."""

AGAIN = "get its files again, all of one model"
"""What to do where tensors and a config do not go together."""


def only_tensors(found: Mapping[Any, Any], source: object) -> dict[str, np.ndarray]:
    """What a file holds that may hold nothing but named tensors.

    Raises:
      ValueError: if there is anything else.

    Example:
      >>> only_tensors({"conv_in.bias": 5}, "model.ckpt")
      Traceback (most recent call last):
      ValueError: 'conv_in.bias' in model.ckpt is no tensor; give a file of ...
    """
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, np.ndarray):
            raise ValueError(
                f"{name!r:.80} in {source} is no tensor; give a file of tensors alone"
            )
    return dict(found)


def to_params(
    tensors: Mapping[str, np.ndarray],
    shapes: Shapes,
    *,
    naming: Naming,
    levels: int,
    torch: bool,
    source: object,
) -> dict[str, Any]:
    """The tree of float32 parameters that tensors of another project make up.

    torch says in which order their axes are. source is named in errors.

    Raises:
      ValueError: if a tensor is missing, has another shape or numbers that are not
        finite, or has no place.

    Example:
      >>> tensors = {"conv_in.bias": np.ones(2, np.float32)}
      >>> names = lambda name, levels: name.replace("/", ".")
      >>> to_params(tensors, {"conv_in/bias": (3,)}, naming=names, levels=1, torch=True,
      ...           source="here")
      Traceback (most recent call last):
      ValueError: conv_in.bias is float32 (2,) in here, and the network ...
    """
    theirs = {naming(name, levels): name for name in shapes}
    extra, missing = sorted(tensors.keys() - theirs), sorted(theirs.keys() - tensors)
    if missing:
        raise ValueError(
            f"{missing[0]} is missing in {source}{others(missing)}, and the network "
            f"that its config describes has it; {AGAIN}"
        )
    if extra:
        raise ValueError(
            f"{extra[0]} in {source}{others(extra)} has no place in the network that "
            f"its config describes; {AGAIN}"
        )
    params = {}
    for their_name, name in theirs.items():
        array = tensors[their_name]
        found = from_torch(array, name, shapes[name]) if torch else array
        if found.shape != shapes[name] or not is_real(found.dtype):
            raise ValueError(
                f"{their_name} is {array.dtype} {array.shape} in {source}, and the "
                "network that its config describes has it as real numbers "
                f"{shape_in_torch(name, shapes[name]) if torch else shapes[name]}; "
                f"{AGAIN}"
            )
        # Not a view: the whole file would stay in memory behind it.
        with np.errstate(over="ignore"):  # which becomes infinite, and is refused
            params[name] = np.array(found, np.float32, order="C")
        if not np.isfinite(params[name]).all():
            raise ValueError(
                f"{their_name} in {source} has numbers that are not finite, with which "
                "a network draws nothing; get it again, or another model"
            )
    return {"params": tree_of(params)}


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether numbers of a type are real: NumPy counts bfloat16 to the unknown ones."""
    return dtype.kind == "f" or dtype == ml_dtypes.bfloat16


def others(names: list[str]) -> str:
    """How many more names there are than the first.

    Example:
      >>> others(["a", "b", "c"])
      ' (and 2 more)'
    """
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def from_torch(array: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of PyTorch with its axes as Flax has them, for a name and shape here.

    Example:
      >>> from_torch(np.ones((8, 3, 1, 1)), "nin_shortcut/kernel", (3, 8)).shape
      (3, 8)
    """
    if name.endswith(TABLES):
        return array
    if len(shape) == 2 and array.ndim == 4 and array.shape[2:] == (1, 1):
        array = array[:, :, 0, 0]
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def shape_in_torch(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a tensor in PyTorch, of a name and shape here."""
    if len(shape) == 4:
        return shape[3], shape[2], shape[0], shape[1]
    return shape if name.endswith(TABLES) else shape[::-1]


def to_diffusers(array: np.ndarray, name: str) -> np.ndarray:
    """A parameter as diffusers keeps it, where shortcuts are convolutions of 1 x 1.

    Example:
      >>> to_diffusers(np.ones((3, 8)), "up_0_block_1/nin_shortcut/kernel").shape
      (8, 3, 1, 1)
    """
    if name.endswith(TABLES):
        return array
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(3, 2, 0, 1))
    if array.ndim < 2:
        return array
    array = np.ascontiguousarray(array.T)
    return array[:, :, None, None] if "/nin_shortcut/" in name else array
