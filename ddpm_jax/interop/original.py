"""Weights of the paper's authors, and of the first port to PyTorch, pesser's.

Neither comes with a config. Names and shapes of the tensors say all but three things,
which the original code sets: attention is at 16 x 16 pixels, so the level that attends
tells the size of the images; GroupNorm has 32 groups; and the chains of 32 x 32 have
the larger variance, those of 256 x 256 the smaller one.
"""

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np

from ddpm_jax.interop.names import OLD_DIFFUSERS
from ddpm_jax.interop.names import Naming
from ddpm_jax.interop.names import pesser_name
from ddpm_jax.interop.names import renamed
from ddpm_jax.interop.names import tensorflow_name
from ddpm_jax.interop.tensors import AGAIN
from ddpm_jax.interop.tensors import only_tensors
from ddpm_jax.interop.tf_checkpoint import read_tf_checkpoint
from ddpm_jax.interop.torch_file import read_torch_file

ATTENDING = 16  # pixels
MOST = 9  # levels, and blocks in one, that are looked for
EMA = "/ExponentialMovingAverage"
MOST_BYTES = 8 * 2**30
"""Of the arrays of an .npz: five times the largest published, with its optimiser."""

UNREADABLE = (
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    MemoryError,  # of a header that declares no end of numbers
    OverflowError,
    RuntimeError,  # of an encrypted member
    NotImplementedError,  # of other compressions
)
OPTIMISER = re.compile(r"/Adam(_1)?$")


class Original(NamedTuple):
    """A model without a config, and the sections of the Config that it has."""

    config: dict[str, dict[str, Any]]
    tensors: dict[str, np.ndarray]
    naming: Naming
    torch: bool  # in which order the axes are
    origin: str


def is_original(path: Path) -> bool:
    """Whether a path is a TensorFlow checkpoint, or an .npz or .ckpt of its kind."""
    return path.suffix in (".npz", ".ckpt") and path.is_file() or bool(prefix_of(path))


def prefix_of(path: Path) -> Path | None:
    """The path of a TensorFlow checkpoint without .index, if path is one."""
    if path.suffix == ".index" and path.is_file():
        return path.with_suffix("")
    return path if Path(f"{path}.index").is_file() else None


def read_original(path: Path, *, ema: bool = True) -> Original:
    """Reads a TensorFlow checkpoint, an .npz with its names, or pesser's .ckpt.

    ema chooses the averages where a file has both.

    Raises:
      FileNotFoundError, ValueError: one sentence, if it is damaged or another network.
    """
    prefix = prefix_of(path)
    if prefix is None and path.suffix == ".ckpt":
        if not ema:
            raise ValueError(f"{path} holds one set of weights; leave out --no-ema")
        tensors = renamed(
            only_tensors(read_torch_file(path), path), OLD_DIFFUSERS, path
        )
        config = config_of(tensors, pesser_name, source=path)
        return Original(config, tensors, pesser_name, True, f"{path}, by pesser")
    found = read_tf_checkpoint(prefix) if prefix else read_npz(path)
    tensors, averaged = averages(found, path, ema)
    config = config_of(tensors, tensorflow_name, source=path)
    which = "the averages" if averaged else "not averaged"
    origin = f"{path}, of the original code, {which}"
    return Original(config, tensors, tensorflow_name, False, origin)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, whose members may be compressed.

    Raises:
      ValueError: if it is damaged, or holds anything but arrays of numbers, or more of
        them than a model has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive)
        # NumPy leaves a file open that it was to open, and can't read.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return only_tensors(dict(arrays), path)
    except UNREADABLE as error:
        raise ValueError(
            f"{path} can't be read as an .npz file: {error}; make it again, as "
            "docs/pretrained.md shows"
        ) from None


def check_members(archive: zipfile.ZipFile) -> None:
    """Raises ValueError unless an archive has arrays alone, of a size one may unpack.

    A file of a few kilobytes can declare, and hold, gigabytes of zeros.
    """
    names = archive.namelist()
    for name in names:
        if not name.endswith(".npy"):
            raise ValueError(f"{name} in it is no .npy array")
    if len(names) > len(set(names)):
        raise ValueError("two of its arrays have one name")
    total = sum(member.file_size for member in archive.infolist())
    if total > MOST_BYTES:
        raise ValueError(
            f"its arrays take {total} bytes, and at most {MOST_BYTES} are read"
        )


def averages(
    found: Mapping[str, np.ndarray], path: Path, ema: bool
) -> tuple[dict[str, np.ndarray], bool]:
    """The variables of the network, and whether they are the averaged ones.

    Example:
      >>> averages({"model/a": 1, "model/a/ExponentialMovingAverage": 2,
      ...           "model/a/Adam": 3, "global_step": 4}, "x", True)
      ({'model/a': 2}, True)

    Raises:
      ValueError: if there are none, or one has no average where others have.
    """
    names = [name for name in found if name.startswith("model/")]
    averaged = [name for name in names if name.endswith(EMA)]
    rest = [n for n in names if not n.endswith(EMA) and not OPTIMISER.search(n)]
    if ema and averaged:
        for name in sorted(set(rest) - {name.removesuffix(EMA) for name in averaged}):
            raise ValueError(
                f"{name} in {path} has no average, which others there have; --no-ema "
                "takes all without"
            )
        return {name.removesuffix(EMA): found[name] for name in averaged}, True
    if not rest:
        raise ValueError(
            f"{path} has no variables that begin with model/, as those of the original "
            "code do; docs/pretrained.md shows which files are read"
        )
    return {name: found[name] for name in rest}, False


def config_of(
    tensors: Mapping[str, np.ndarray], naming: Naming, *, source: object
) -> dict[str, dict[str, Any]]:
    """The sections of the Config of a network that is known by its tensors.

    Raises:
      ValueError: if they are not those of the original network.
    """

    def features(name: str) -> int | None:
        tensor = tensors.get(naming(name, 0))
        if tensor is not None and (tensor.ndim != 1 or tensor.size == 0):
            raise ValueError(
                f"{naming(name, 0)} is {tensor.shape} in {source}, and a bias is a row "
                f"of numbers; {AGAIN}"
            )
        return None if tensor is None else tensor.size

    ch, outputs = features("conv_in/bias"), features("conv_out/bias")
    widths = [features(f"down_{i}_block_0/conv1/bias") for i in range(MOST)]
    blocks = [features(f"down_0_block_{i}/conv1/bias") for i in range(MOST)]
    levels = [*widths, None].index(None)
    attends = [i for i in range(levels) if features(f"down_{i}_attn_0/q/bias")]
    if ch is None or outputs is None or not levels or len(attends) != 1:
        raise ValueError(
            f"{source} does not hold the original network: conv_in, conv_out, levels "
            "of blocks, and attention in one of them; give a folder of diffusers for "
            "another"
        )
    size = ATTENDING * 2 ** attends[0]
    return {
        "model": {
            "ch": ch,
            "ch_mult": [width // ch for width in widths[:levels] if width],
            "num_res_blocks": [*blocks, None].index(None),
            "attention_resolutions": [ATTENDING],
            "dropout": 0.1 if size == 32 else 0.0,
        },
        "objective": {"variance": "fixed_large" if size == 32 else "fixed_small"},
        "data": {"image_size": [size, size], "channels": outputs},
    }
