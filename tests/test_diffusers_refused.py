"""Folders of diffusers that this project can't honour, in one sentence each."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from diffusers_files import SCHEDULERS
from diffusers_files import WEIGHTS
from diffusers_files import change
from diffusers_files import described
from diffusers_files import shard
from diffusers_files import write
from safetensors.numpy import save_file

from ddpm_jax.config import Config
from ddpm_jax.config import Model
from ddpm_jax.interop.scheduler_config import from_scheduler_config
from ddpm_jax.interop.unet_config import from_unet_config
from ddpm_jax.pretrained import read_pretrained
from ddpm_jax.validation import from_dict


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    return write(folder, *described("heads"), SCHEDULERS["ddpm"])


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("unet", "_class_name", "UNet2DConditionModel"),
        ("unet", "center_input_sample", True),
        ("unet", "time_embedding_type", "fourier"),
        ("unet", "freq_shift", 2),
        ("unet", "time_embedding_dim", 64),
        ("unet", "mid_block_type", None),
        ("unet", "mid_block_scale_factor", 1.4),
        ("unet", "downsample_padding", 2),
        ("unet", "downsample_type", "resnet"),
        ("unet", "upsample_type", "resnet"),
        ("unet", "act_fn", "gelu"),
        ("unet", "norm_eps", 0.0),
        ("unet", "attn_norm_num_groups", 4),
        ("unet", "resnet_time_scale_shift", "scale_shift"),
        ("unet", "add_attention", False),
        ("unet", "class_embed_type", "timestep"),
        ("unet", "down_block_types", ["DownBlock2D", "CrossAttnDownBlock2D"]),
        ("unet", "up_block_types", ["UpBlock2D", "AttnUpBlock2D"]),
        ("unet", "up_block_types", ["AttnUpBlock2D"]),
        ("unet", "block_out_channels", [8, 12]),
        ("unet", "block_out_channels", "wide"),
        ("unet", "sample_size", None),
        ("unet", "out_channels", 6),
        ("unet", "attention_head_dim", 5),
        ("unet", "conv_out_kernel", 3),
        ("scheduler", "_class_name", "PNDMScheduler"),
        ("scheduler", "beta_schedule", "laplace"),
        ("scheduler", "trained_betas", [0.1, 0.2, 0.7]),
        ("scheduler", "trained_betas", [0.1, 0.2, 0.7] * 4),
        ("scheduler", "variance_type", "learned"),
        ("scheduler", "variance_type", "fixed_large_log"),
        ("scheduler", "prediction_type", "flow"),
        ("scheduler", "clip_sample_range", 2.0),
        ("scheduler", "timestep_spacing", "log"),
        ("scheduler", "steps_offset", 1),
        ("scheduler", "set_alpha_to_one", False),
        ("scheduler", "solver_order", 2),
    ],
)
def test_a_key_that_cannot_be_honoured_is_refused_by_name(
    folder: Path, part: str, key: str, value: object
) -> None:
    change(folder, part, key, value)
    with pytest.raises(ValueError, match=f"^[^\n]*{key}[^\n]*$"):
        read_pretrained(folder)


def test_thresholding_that_is_clipping_is_clipping(folder: Path) -> None:
    change(folder, "scheduler", "clip_sample", False)
    change(folder, "scheduler", "thresholding", True)
    assert read_pretrained(folder).config.objective.clip_x0
    change(folder, "scheduler", "sample_max_value", 1.5)
    with pytest.raises(ValueError, match="thresholding is True"):
        read_pretrained(folder)


def test_keys_that_are_absent_have_the_defaults_of_diffusers(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text('{"sample_size": 32, "dropout": 1}')
    with pytest.raises(ValueError, match="dropout is 1"):
        read_pretrained(folder)


def test_the_config_that_google_published_is_the_papers_network() -> None:
    published = {
        "_class_name": "UNet2DModel",
        "_diffusers_version": "0.0.4",
        "act_fn": "silu",
        "attention_head_dim": None,
        "block_out_channels": [128, 256, 256, 256],
        "center_input_sample": False,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", *["DownBlock2D"] * 2],
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "in_channels": 3,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-6,
        "norm_num_groups": 32,
        "out_channels": 3,
        "sample_size": 32,
        "time_embedding_type": "positional",
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    }
    schedule = {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": "0.1.1",
        "num_train_timesteps": 1000,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "trained_betas": None,
        "variance_type": "fixed_large",
        "clip_sample": True,
    }
    unet = from_unet_config(published, "here")
    config = from_dict({**from_scheduler_config(schedule, "here"), **unet})
    # What it says of dropout is nothing, which is 0 to diffusers.
    paper = Config(model=Model(dropout=0.0))
    assert config.model == paper.model
    assert config.process == paper.process
    assert config.objective == paper.objective
    assert config.data.image_size == (32, 32)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"conv_in.bias": None}, "conv_in.bias is missing in .*; get its files again"),
        (
            {"conv_extra.bias": np.ones(3, np.float32)},
            "conv_extra.bias in .* no place .*; get its files",
        ),
        (
            {"conv_in.bias": np.ones(9, np.float32)},
            r"conv_in.bias is float32 \(9,\) .*; get its files",
        ),
        ({"conv_in.bias": np.ones(8, np.int32)}, r"conv_in.bias is int32 \(8,\)"),
        (
            {"conv_in.weight": np.ones((3, 3, 3, 8), np.float32)},
            r"conv_in.weight is .* has it as real numbers \(8, 3, 3, 3\)",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    folder: Path, tensors: dict[str, np.ndarray | None], sentence: str
) -> None:
    changed = {**described("heads")[1], **tensors}
    kept = {name: tensor for name, tensor in changed.items() if tensor is not None}
    save_file(kept, folder / "unet" / WEIGHTS)
    with pytest.raises(ValueError, match=sentence):
        read_pretrained(folder)


def test_files_that_are_missing_or_damaged_are_named(folder: Path) -> None:
    weights = folder / "unet" / WEIGHTS
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged or .*; get it again$"):
        read_pretrained(folder)
    weights.write_bytes(data)
    shard(folder / "unet", described("heads")[1])
    one, two = sorted((folder / "unet").glob("*-of-00002.safetensors"))
    held = one.read_bytes()
    save_file({}, one)
    with pytest.raises(
        ValueError, match="missing in .*00001-of-00002.*; get its files"
    ):
        read_pretrained(folder)
    one.write_bytes(held)
    shutil.copy(one, two)
    with pytest.raises(ValueError, match="is in .*00002-of-00002.*, where .* not have"):
        read_pretrained(folder)
    one.unlink()
    with pytest.raises(
        FileNotFoundError, match="no file .*00001-of-00002.*; get it as well"
    ):
        read_pretrained(folder)
    index = folder / "unet" / f"{WEIGHTS}.index.json"
    for place in ("../../a.safetensors", "", "..", "unet/a.safetensors", "/a"):
        index.write_text(json.dumps({"weight_map": {"a": place}}))
        with pytest.raises(ValueError, match=f"names {place!r}, which is not beside"):
            read_pretrained(folder)
    index.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no .* or \.bin in .*; get the weights"
    ):
        read_pretrained(folder)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text("{")
    with pytest.raises(ValueError, match="_config.json is not JSON.*; get the file"):
        read_pretrained(folder)
    scheduler.unlink()
    with pytest.raises(
        FileNotFoundError, match="scheduler_config.json, .*; give the whole"
    ):
        read_pretrained(folder)


def test_a_pipeline_of_latents_is_refused(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["vqvae"] = ["diffusers", "VQModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="has a vqvae, so it is not a model of pixels"):
        read_pretrained(folder)
