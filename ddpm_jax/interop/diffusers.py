"""Folders of diffusers' DDPMPipeline and DDIMPipeline, read.

    model_index.json                               the parts, and their classes
    unet/config.json                               or config.json
    unet/diffusion_pytorch_model.safetensors       or at the root, or several files
    scheduler/scheduler_config.json                or at the root

The first repositories had all files at the root, and so can any folder that is read.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddpm_jax.interop.kinds import TEXT
from ddpm_jax.interop.kinds import Fields
from ddpm_jax.interop.kinds import shown
from ddpm_jax.interop.names import OLD_DIFFUSERS
from ddpm_jax.interop.names import renamed
from ddpm_jax.interop.scheduler_config import from_scheduler_config
from ddpm_jax.interop.scheduler_config import sampler_of
from ddpm_jax.interop.scheduler_config import spacing_of
from ddpm_jax.interop.tensors import AGAIN
from ddpm_jax.interop.tensors import Shapes
from ddpm_jax.interop.tensors import only_tensors
from ddpm_jax.interop.torch_file import read_torch_file
from ddpm_jax.interop.unet_config import DEFAULTS
from ddpm_jax.interop.unet_config import from_unet_config
from ddpm_jax.weights import read_tensors

INDEX = "model_index.json"
UNET = "config.json"
SCHEDULER = "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model"
CLASSES = "class_embed/embedding"
FIRST_LAYER = "temb_dense0/kernel"

READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".safetensors": lambda path: read_tensors(path)[0],
    ".bin": read_torch_file,
}
"""How files of weights are read, the first that there is first."""


class Folder(NamedTuple):
    """What a folder of diffusers holds, in our words but for the names of tensors."""

    config: dict[str, Fields]  # sections of a Config
    tensors: dict[str, np.ndarray]
    spacing: str  # of the steps of a short chain
    sampler: str  # that its authors draw with
    cosines_first: bool  # in the embedding of t, where this network has the sines first


def is_diffusers(folder: Path) -> bool:
    """Whether a folder looks like one of diffusers, and not like that of a run here."""
    if (folder / INDEX).is_file() or (folder / "unet" / UNET).is_file():
        return True
    beside = folder / SCHEDULER, *folder.glob(f"{WEIGHTS}*")
    return (folder / UNET).is_file() and any(path.is_file() for path in beside)


def read_folder(folder: Path) -> Folder:
    """Reads a folder of diffusers.

    Raises:
      FileNotFoundError, ValueError: one sentence that names the file, and the key or
        the tensor, if something is missing, damaged or not this network's.
    """
    check_parts(folder)
    place = folder / "unet" if (folder / "unet").is_dir() else folder
    unet = read_json(place / UNET)
    if unet.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise ValueError(
            f"_class_name is {unet['_class_name']!r} in {place / UNET}; this project "
            "needs 'UNet2DModel'"
        )
    path = folder / "scheduler" / SCHEDULER
    path = path if path.is_file() else folder / SCHEDULER
    scheduler = read_json(path)
    config = {
        **from_scheduler_config(scheduler, path),
        **from_unet_config(unet, place / UNET),
    }
    check_outputs(config, unet, place / UNET)
    check_classes(folder, {"unet": unet, "scheduler": scheduler})
    return Folder(
        config,
        renamed(read_weights(place), OLD_DIFFUSERS, place),
        spacing_of(scheduler),
        sampler_of(scheduler),
        bool(unet.get("flip_sin_to_cos", DEFAULTS["flip_sin_to_cos"])),
    )


def check_parts(folder: Path) -> None:
    """Raises ValueError if the pipeline has parts besides a UNet2DModel."""
    if not (folder / INDEX).is_file():
        return
    index = read_json(folder / INDEX)
    parts = {key: part for key, part in index.items() if not key.startswith("_")}
    for key, part in parts.items():
        if key not in ("unet", "scheduler") and part not in (None, [None, None]):
            raise ValueError(
                f"{folder} has a {key}, so it is not a model of pixels alone; this "
                "project reads folders of DDPMPipeline and DDIMPipeline"
            )


def check_classes(folder: Path, configs: dict[str, Fields]) -> None:
    """Raises ValueError if the index has a part of another class than its config."""
    if not (folder / INDEX).is_file():
        return
    index = read_json(folder / INDEX)
    for part, config in configs.items():
        kind = config.get("_class_name")
        if kind is not None and part in index and index[part] != ["diffusers", kind]:
            raise ValueError(
                f"{part} is {shown(index[part])} in {folder / INDEX}, and its config "
                f"is that of a {kind}; make the two agree"
            )


def check_outputs(config: dict[str, Fields], unet: Fields, source: object) -> None:
    """Raises ValueError unless the network answers on C channels, or 2C if it learns
    the variance.
    """
    learned = config["objective"]["variance"] == "learned_range"
    channels = config["data"]["channels"] * (2 if learned else 1)
    got = unet.get("out_channels", DEFAULTS["out_channels"])
    if got != channels:
        variance = "learned" if learned else "not learned"
        raise ValueError(
            f"out_channels is {got!r} in {source}; in_channels is "
            f"{config['data']['channels']} and the variance is {variance}, so this "
            f"project needs {channels}"
        )


def read_json(path: Path) -> Fields:
    """The dict in a JSON file.

    Raises:
      FileNotFoundError, ValueError: if there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}, which a folder of diffusers has; give the whole of "
            "one"
        )
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}; get the file again") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no keys, but {value!r:.40}; get the file again")
    return value


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """The tensors of a model that is one file, or several with an index."""
    for suffix, read in READERS.items():
        whole = folder / f"{WEIGHTS}{suffix}"
        if whole.is_file():
            return only_tensors(read(whole), whole)
        index = folder / f"{WEIGHTS}{suffix}.index.json"
        if index.is_file():
            return read_shards(index, read)
    there = sorted(path.name for path in folder.glob("*") if path.name != UNET)
    raise FileNotFoundError(
        f"there is no {WEIGHTS}.safetensors or .bin in {folder}, but "
        f"{', '.join(there) or 'nothing else'}; get the weights as well"
    )


def read_shards(
    index: Path, read: Callable[[Path], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The tensors of several files, each in the one that the index names."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(map(TEXT.holds, places.values())):
        raise ValueError(
            f"{index} has no weight_map from tensors to names of files; get it again"
        )
    tensors: dict[str, np.ndarray] = {}
    for file in sorted(set(places.values())):
        if file in ("", "..") or Path(file).name != file:
            raise ValueError(
                f"{index} names {shown(file)}, which is not beside it; get it again"
            )
        path = index.with_name(file)
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no file {path}, which {index} names; get it as well"
            )
        found = only_tensors(read(path), path)
        for name in sorted(found.keys() - placed_in(file, places)):
            raise ValueError(
                f"{name} is in {path}, where {index} does not have it; {AGAIN}"
            )
        tensors |= found
    for name in sorted(places.keys() - tensors):
        raise ValueError(
            f"{name} is missing in {index.with_name(places[name])}, where {index} has "
            f"it; {AGAIN}"
        )
    return tensors


def placed_in(file: str, places: dict[str, str]) -> set[str]:
    """The tensors that an index has in a file."""
    return {name for name, place in places.items() if place == file}


def shapes_in(folder: Folder, shapes: Shapes) -> Shapes:
    """The shapes of a network's parameters, as a folder has to hold them.

    It has no row for images without a label where the network has never seen one.
    """
    if CLASSES not in shapes or folder.config["train"]["label_dropout"] > 0:
        return shapes
    rows, width = shapes[CLASSES]
    return {**shapes, CLASSES: (rows - 1, width)}


def completed(
    folder: Folder, params: dict[str, np.ndarray], shapes: Shapes
) -> dict[str, np.ndarray]:
    """Parameters of the shapes `shapes_in` a folder, as the network has them.

    The layer that reads cosines, then sines, becomes one that reads them after; the row
    for images without a label is zero.
    """
    if folder.cosines_first:
        kernel = params[FIRST_LAYER]
        params = {**params, FIRST_LAYER: np.roll(kernel, len(kernel) // 2, axis=0)}
    if CLASSES in shapes and params[CLASSES].shape != shapes[CLASSES]:
        null_row = np.zeros_like(params[CLASSES][:1])
        params = {**params, CLASSES: np.concatenate([params[CLASSES], null_row])}
    return params
