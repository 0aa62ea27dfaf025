"""Weights in one file: safetensors, with the config inside, and no pickle.

A checkpoint holds what training needs; this holds what sampling needs, in a file that
can be handed on. Tensors are named by their path in the tree, such as
"params/conv_in/kernel".
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ddpm_jax.files import replacing

SUFFIX = ".safetensors"


def save_weights(
    path: str | os.PathLike[str],
    params: Any,  # noqa: ANN401
    *,
    step: int,
    config: dict[str, Any],
    dtype: DTypeLike = jnp.float32,
) -> Path:
    """Writes a tree of weights as dtype, with the step and the config of its run.

    Example:
      >>> import tempfile
      >>> folder = Path(tempfile.mkdtemp())
      >>> params = {"params": {"w": np.ones(2, np.float32)}}
      >>> path = save_weights(folder / "ema", params, step=3, config={"seed": 0})
      >>> load_weights(path)[1:]
      (3, {'seed': 0})
    """
    from safetensors.flax import save

    path = Path(path).with_suffix(SUFFIX)
    tensors = {
        "/".join(str(part.key) for part in parts): jnp.asarray(leaf, dtype)
        for parts, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    }
    metadata = {"step": str(step), "config": json.dumps(config)}
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
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from None


def load_weights(path: str | os.PathLike[str]) -> tuple[Any, int, dict[str, Any]]:
    """Reads what `save_weights` wrote: float32 NumPy arrays, the step and the config.

    Raises:
      FileNotFoundError, ValueError: one sentence, if the file is not there, is damaged
        or holds no config of this project.
    """
    tensors, metadata = read_tensors(path)
    if not {"step", "config"} <= set(metadata):
        raise ValueError(
            f"{path} has no config inside; give a file that this project wrote"
        )
    tree: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *parents, leaf = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = np.asarray(tensor, np.float32)
    return tree, int(metadata["step"]), json.loads(metadata["config"])
