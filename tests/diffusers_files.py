"""Folders of diffusers, written from the fixtures of tools/make_interop_fixtures.py."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from torch_weights import made_up

from ddpm_jax.loading import Trained
from ddpm_jax.loading import load_trained

FILES = Path(__file__).parent / "fixtures" / "diffusers"
NETWORKS = (
    "cifar",
    "classes",
    "cosines_first",
    "defaults",
    "gray",
    "heads",
    "six_levels",
)
CHAINS = json.loads((FILES / "schedulers.json").read_text())
SCHEDULERS, STEPS = CHAINS["schedulers"], CHAINS["steps"]
WEIGHTS = "diffusion_pytorch_model.safetensors"
Json = dict[str, Any]


def described(name: str) -> tuple[Json, dict[str, np.ndarray]]:
    """The config.json and the weights of a network of the fixtures."""
    network = json.loads((FILES / f"{name}.json").read_text())
    return network["config"], made_up(network["shapes"])


def write(
    folder: Path,
    unet: Json,
    tensors: dict[str, np.ndarray],
    scheduler: Json,
    *,
    flat: bool = False,
) -> Path:
    """A folder of diffusers in either layout."""
    places = {"unet": folder, "scheduler": folder}
    if not flat:
        places = {name: folder / name for name in places}
        index = {
            "_class_name": "DDPMPipeline",
            "scheduler": ["diffusers", "DDPMScheduler"],
            "unet": ["diffusers", "UNet2DModel"],
        }
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    if not flat:
        (folder / "model_index.json").write_text(json.dumps(index))
    (places["unet"] / "config.json").write_text(json.dumps(unet))
    (places["scheduler"] / "scheduler_config.json").write_text(json.dumps(scheduler))
    save_file(tensors, places["unet"] / WEIGHTS)
    return folder


def load(tmp_path: Path, network: str, scheduler: Json | None = None) -> Trained:
    return load_trained(
        write(tmp_path / "model", *described(network), scheduler or SCHEDULERS["ddpm"])
    )


def shard(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    """Puts weights into two files and an index in the place of one."""
    (folder / WEIGHTS).unlink()
    names = sorted(tensors)
    halves = names[::2], names[1::2]
    places = {}
    for i, half in enumerate(halves, 1):
        path = folder / f"diffusion_pytorch_model-0000{i}-of-00002.safetensors"
        save_file({name: tensors[name] for name in half}, path)
        places |= dict.fromkeys(half, path.name)
    index = json.dumps({"metadata": {}, "weight_map": places})
    (folder / f"{WEIGHTS}.index.json").write_text(index)


def change(folder: Path, part: str, key: str, value: object) -> None:
    """Changes a key of a config file."""
    name = "config.json" if part == "unet" else "scheduler_config.json"
    config = json.loads((folder / part / name).read_text())
    (folder / part / name).write_text(json.dumps({**config, key: value}))
