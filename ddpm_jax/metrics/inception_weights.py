"""The weights of FID's Inception: where they come from, and how they are named.

One file, pt_inception-2015-12-05-6726825d.pth, of 96 MB: pytorch-fid and torch-fidelity
publish the same bytes. It is read from a path, or fetched once over https into the
user's cache, and its pickle is not executed.
"""

import contextlib
import http.client
import shutil
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO
from typing import Any

import jax
import numpy as np

from ddpm_jax.files import checksum
from ddpm_jax.files import replacing
from ddpm_jax.interop.torch_file import read_torch_file
from ddpm_jax.metrics.inception import SIZE
from ddpm_jax.metrics.inception import Inception
from ddpm_jax.transfer import misfit
from ddpm_jax.trees import tree_of

NAME = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAME}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
EPSILON = 1e-3  # of the batch normalisation
TIMEOUT = 30.0  # seconds without an answer


def find_weights(path: Path | None = None) -> Path:
    """The file at path, or the published one: from the cache, or fetched into it.

    Raises:
      FileNotFoundError: if it is not there and cannot be fetched; says where to get it.
    """
    if path is not None:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}; {advice()}")
        return path
    cached = cache_path()
    if not cached.is_file():
        fetch(URL, cached, SHA256)
    return cached


def cache_path() -> Path:
    """Where the published file is kept."""
    import platformdirs

    return platformdirs.user_cache_path("ddpm_jax") / "weights" / NAME


def advice() -> str:
    """How to come by the file, on a machine without a network too."""
    return (
        f"get {NAME} from {URL} and put it at {cache_path()}, or name it with "
        "evaluate.py --weights"
    )


def fetch(url: str, path: Path, sha256: str) -> None:
    """Downloads a file over https into place, if its SHA-256 is the expected one.

    Raises:
      FileNotFoundError: if nothing comes, or something else does.
    """
    if not url.startswith("https://"):
        raise ValueError(f"{url} is not https")
    print(f"fetching {url} ...", flush=True)
    try:
        with contextlib.closing(urllib.request.urlopen(url, timeout=TIMEOUT)) as answer:
            receive(answer, path, sha256)
    except (OSError, ValueError, http.client.HTTPException) as error:
        message = f"{url} can't be fetched ({error}); {advice()}"
        raise FileNotFoundError(message) from None


def receive(answer: IO[bytes], path: Path, sha256: str) -> None:
    """Writes what comes to path, unless its SHA-256 is another: then ValueError."""
    with replacing(path) as file:
        shutil.copyfileobj(answer, file)
        file.flush()
        found = checksum(file.name)
        if found != sha256:
            raise ValueError(f"its SHA-256 is {found} and should be {sha256}")


def load_inception(path: Path) -> dict[str, Any]:
    """Reads the file as the variables of `Inception`.

    Raises:
      ValueError: if it is no torch file, or not of this network.
    """
    variables = convert(read_torch_file(path), path.name)
    check_shapes(variables, path.name)
    return variables


def check_shapes(variables: dict[str, Any], name: str) -> None:
    """Raises ValueError, naming a tensor, unless these are the network's variables."""
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), np.float32)
    wanted = jax.eval_shape(Inception().init, jax.random.key(0), image)
    if found := misfit(variables, wanted):
        tensor, got, want = found
        raise ValueError(
            f"{name} holds no Inception-v3 of FID: {tensor} is {got} and should be "
            f"{want}; {advice()}"
        )


def convert(tensors: Mapping[str, np.ndarray], name: str = "it") -> dict[str, Any]:
    """Renames, transposes and folds a state dict of the ports into Flax's variables.

    With its statistics fixed, batch normalisation is y = x factor + shift, factor =
    weight / sqrt(var + epsilon) and shift = bias - mean factor: a part of the
    convolution before it, computed in float64.
    """
    leaves: dict[str, np.ndarray] = {}
    try:
        for key in tensors:
            if key.endswith(".conv.weight"):
                module = key.removesuffix(".conv.weight")
                # The convolutions before the first block are in a module of their own.
                place = "stem/" if module.startswith("Conv2d") else ""
                ours = f"params/{place}{module.replace('.', '/')}/conv"
                kernel, bias = _folded(tensors, module)
                leaves |= {f"{ours}/kernel": kernel, f"{ours}/bias": bias}
        leaves["params/fc/kernel"] = _float32(tensors["fc.weight"]).T
    except KeyError as error:
        raise ValueError(
            f"{name} holds no Inception-v3 of FID: {error} is missing; {advice()}"
        ) from None
    return tree_of(leaves)


def _folded(
    tensors: Mapping[str, np.ndarray], module: str
) -> tuple[np.ndarray, np.ndarray]:
    """The kernel [rows, columns, in, out] and the bias [out] of conv and bn."""
    kernel, weight, bias, mean, variance = (
        np.asarray(tensors[f"{module}.{name}"], np.float64)
        for name in (
            "conv.weight",
            "bn.weight",
            "bn.bias",
            "bn.running_mean",
            "bn.running_var",
        )
    )
    factor = weight / np.sqrt(variance + EPSILON)
    kernel = kernel.transpose(2, 3, 1, 0) * factor
    return _float32(kernel), _float32(bias - mean * factor)


def _float32(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, np.float32)
