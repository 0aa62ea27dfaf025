"""Folders of diffusers' DDPMPipeline and DDIMPipeline, written."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddpm_jax.files import new_folder
from ddpm_jax.interop.diffusers import CLASSES
from ddpm_jax.interop.diffusers import INDEX
from ddpm_jax.interop.diffusers import SCHEDULER
from ddpm_jax.interop.diffusers import UNET
from ddpm_jax.interop.diffusers import WEIGHTS
from ddpm_jax.interop.kinds import Fields
from ddpm_jax.interop.names import diffusers_name
from ddpm_jax.interop.scheduler_config import DDIM
from ddpm_jax.interop.scheduler_config import DDPM
from ddpm_jax.interop.scheduler_config import SAMPLERS
from ddpm_jax.interop.scheduler_config import to_scheduler_config
from ddpm_jax.interop.tensors import to_diffusers
from ddpm_jax.interop.unet_config import to_unet_config
from ddpm_jax.schedules import SCHEDULES

VERSION = "0.42.1"  # of the diffusers whose keys are written
PIPELINES = {DDPM: "DDPMPipeline", DDIM: "DDIMPipeline"}
"""The pipeline of each scheduler; either loads the other's folders as well."""


def write_folder(
    folder: Path,
    config: dict[str, Fields],
    params: Mapping[str, np.ndarray],
    *,
    sampler: str = "ddpm",
    spacing: str = "uniform",
) -> None:
    """Writes a folder that DDPMPipeline.from_pretrained loads, or DDIMPipeline's.

    config is the sections of a Config, params the tensors by their path below "params".
    sampler, ddpm or ddim, and spacing are those of the pipeline. The folder is there
    whole, or not at all.

    Raises:
      ValueError: if diffusers has no such model, or the folder is not empty.
    """
    from safetensors.numpy import save

    if config["objective"].get("self_condition"):
        raise ValueError(
            "objective.self_condition is true: the network is shown its own x_0, which "
            "diffusers lacks"
        )
    process = config["process"]
    ends = process["beta_start"], process["beta_end"]
    betas = SCHEDULES[process["schedule"]](process["num_timesteps"], *ends)
    kind = {ours: name for name, ours in SAMPLERS.items()}[sampler]
    scheduler = to_scheduler_config(config, betas, kind=kind, spacing=spacing)
    unet = to_unet_config(config, params["conv_out/bias"].shape[0])
    if CLASSES in params:
        known = params[CLASSES][: unet["num_class_embeds"]]
        params = {**params, CLASSES: known}
    levels = len(config["model"]["ch_mult"])
    tensors = {
        diffusers_name(name, levels): to_diffusers(array, name)
        for name, array in params.items()
    }
    classes = {"scheduler": kind, "unet": "UNet2DModel"}
    parts = {part: ["diffusers", name] for part, name in classes.items()}
    with new_folder(folder) as draft:
        write_json(draft / INDEX, PIPELINES[kind], parts)
        write_json(draft / "scheduler" / SCHEDULER, kind, scheduler)
        write_json(draft / "unet" / UNET, classes["unet"], unet)
        weights = draft / "unet" / f"{WEIGHTS}.safetensors"
        weights.write_bytes(save(tensors, {"format": "pt"}))


def write_json(path: Path, kind: str, keys: Fields) -> None:
    """Writes the keys of a class of diffusers, and makes the folder."""
    header = {"_class_name": kind, "_diffusers_version": VERSION}
    text = json.dumps({**header, **keys}, indent=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
