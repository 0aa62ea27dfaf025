"""Folders of diffusers: the same answers and images, and one sentence on all else.

tools/make_interop_fixtures.py made the fixtures.
"""

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save_file
from torch_weights import made_up
from torch_weights import save_torch

from ddpm_jax.build import build
from ddpm_jax.build import sampler_of
from ddpm_jax.chains import Chain
from ddpm_jax.chains import chain_of
from ddpm_jax.config import Config
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import Process
from ddpm_jax.exporting import export_diffusers
from ddpm_jax.fine_tuning import load_source
from ddpm_jax.interop.scheduler_config import from_scheduler_config
from ddpm_jax.interop.scheduler_config import spacing_of
from ddpm_jax.interop.scheduler_config import to_scheduler_config
from ddpm_jax.interop.unet_config import from_unet_config
from ddpm_jax.pretrained import read_pretrained
from ddpm_jax.sampling import Trained
from ddpm_jax.sampling import describe
from ddpm_jax.sampling import load_trained
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.validation import from_dict

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
SCHEDULERS = json.loads((FILES / "schedulers.json").read_text())["schedulers"]
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


def ask(trained: Trained, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """What the network answers, in the order of PyTorch's axes."""
    labels = None if trained.config.model.num_classes is None else jnp.array([4, 1])
    network = jax.jit(partial(trained.parts.network, labels=labels))
    answer = network(trained.params, jnp.asarray(x.transpose(0, 2, 3, 1)), t)
    return np.asarray(answer).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_answers_as_it_does_in_diffusers(
    tmp_path: Path, network: str
) -> None:
    trained = load(tmp_path, network)
    with np.load(FILES / f"{network}.npz") as file:
        eps = ask(trained, file["x"], file["t"].astype(np.int32))
        scale = np.abs(file["eps"]).max()
        np.testing.assert_allclose(eps, file["eps"], atol=1e-4 * scale, rtol=0)


def test_every_case_has_its_fixtures() -> None:
    assert {path.stem for path in FILES.glob("*.npz")} == {*NETWORKS, "chains"}
    with np.load(FILES / "chains.npz") as file:
        assert set(file) == set(SCHEDULERS)
    assert set(SCHEDULERS) == {
        "ddim",
        "ddim_trailing",
        "ddim_unclipped",
        "ddpm",
        "small",
        "trained_betas",
        "v_cosine",
        "x_0_quad",
        "zero_snr",
    }


def formula(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    """What the chains ask in the place of a network."""
    return jnp.tanh(x_t) * (1 - t[:, None, None, None] / 40)


def draw(scheduler: Json, shape: tuple[int, ...]) -> np.ndarray:
    """The images of key 0 in the order of PyTorch's axes."""
    sections = from_scheduler_config(scheduler, "here")
    data = {"image_size": shape[1:3], "channels": shape[3]}
    parts = build(from_dict({**sections, "data": data, "model": {"ch_mult": [1]}}))
    sampler = sampler_of(formula, parts.schedule, parts.objective)
    ddim = scheduler["_class_name"] == "DDIMScheduler"
    chain = Chain("ddim", 4, spacing_of(scheduler)) if ddim else Chain()
    sample = chain_of(parts._replace(sampler=sampler), chain)
    x_0 = jax.jit(partial(sample, shape=shape))({}, jax.random.key(0))
    return np.asarray(x_0).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_chain_draws_what_its_scheduler_does(name: str) -> None:
    with np.load(FILES / "chains.npz") as file:
        wanted = file[name]
    batch, channels, height, width = wanted.shape
    drawn = draw(SCHEDULERS[name], (batch, height, width, channels))
    scale = max(np.abs(wanted).max(), 1)
    np.testing.assert_allclose(drawn, wanted, atol=1e-3 * scale, rtol=0)


def test_both_layouts_old_names_and_other_files_hold_the_same_model(
    tmp_path: Path,
) -> None:
    unet, tensors = described("heads")
    one = write(tmp_path / "one", unet, tensors, SCHEDULERS["ddpm"])
    renamed = {
        name.replace("to_q", "query")
        .replace("to_k", "key")
        .replace("to_v", "value")
        .replace("to_out.0", "proj_attn"): tensor
        for name, tensor in tensors.items()
    }
    assert renamed.keys() != tensors.keys()
    two = write(tmp_path / "two", unet, renamed, SCHEDULERS["ddpm"], flat=True)
    three = write(tmp_path / "three", unet, {}, SCHEDULERS["ddpm"])
    shard(three / "unet", tensors)
    four = write(tmp_path / "four", unet, {}, SCHEDULERS["ddpm"])
    (four / "unet" / WEIGHTS).unlink()
    save_torch(four / "unet" / "diffusion_pytorch_model.bin", tensors)
    folders = one, two, three, four
    params = [read_pretrained(folder).params for folder in folders]
    for other in params[1:]:
        jax.tree.map(np.testing.assert_array_equal, params[0], other)


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


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_weights_of_any_type_become_float32(tmp_path: Path, dtype: type) -> None:
    unet, tensors = described("gray")
    halved = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
    folder = write(tmp_path / "model", unet, halved, SCHEDULERS["ddpm"])
    bias = read_pretrained(folder).params["params"]["conv_in"]["bias"]
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias, halved["conv_in.bias"].astype(np.float32))


def change(folder: Path, part: str, key: str, value: object) -> None:
    """Changes a key of a config file."""
    name = "config.json" if part == "unet" else "scheduler_config.json"
    config = json.loads((folder / part / name).read_text())
    (folder / part / name).write_text(json.dumps({**config, key: value}))


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
        ({"conv_in.bias": None}, "conv_in.bias is missing in"),
        ({"conv_extra.bias": np.ones(3, np.float32)}, "conv_extra.bias in .* no place"),
        ({"conv_in.bias": np.ones(9, np.float32)}, r"conv_in.bias is float32 \(9,\)"),
        ({"conv_in.bias": np.ones(8, np.int32)}, r"conv_in.bias is int32 \(8,\)"),
        (
            {"conv_in.weight": np.ones((3, 3, 3, 8), np.float32)},
            r"conv_in.weight is .* has it as \(8, 3, 3, 3\)",
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
    with pytest.raises(ValueError, match=f"{WEIGHTS} is damaged or no safetensors"):
        read_pretrained(folder)
    weights.write_bytes(data)
    shard(folder / "unet", described("heads")[1])
    one, two = sorted((folder / "unet").glob("*-of-00002.safetensors"))
    held = one.read_bytes()
    save_file({}, one)
    with pytest.raises(ValueError, match="is missing in .*00001-of-00002"):
        read_pretrained(folder)
    one.write_bytes(held)
    shutil.copy(one, two)
    with pytest.raises(ValueError, match="is in .*00002-of-00002.*, where .* not have"):
        read_pretrained(folder)
    one.unlink()
    with pytest.raises(FileNotFoundError, match="no file .*00001-of-00002"):
        read_pretrained(folder)
    index = folder / "unet" / f"{WEIGHTS}.index.json"
    index.write_text('{"weight_map": {"a": "../../a.safetensors"}}')
    with pytest.raises(ValueError, match="which is not beside it"):
        read_pretrained(folder)
    index.unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*\.safetensors or \.bin in"):
        read_pretrained(folder)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text("{")
    with pytest.raises(ValueError, match="scheduler_config.json is not JSON"):
        read_pretrained(folder)
    scheduler.unlink()
    with pytest.raises(FileNotFoundError, match="scheduler_config.json, which a"):
        read_pretrained(folder)


def test_a_pipeline_of_latents_is_refused(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    index["vqvae"] = ["diffusers", "VQModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="has a vqvae, so it is not a model of pixels"):
        read_pretrained(folder)


def test_a_model_of_another_project_says_what_it_is(whole: Path) -> None:
    trained = load_trained(whole)
    assert describe(trained) == f"weights: {whole}, a folder of diffusers"
    with pytest.raises(ValueError, match="is no run; there is no other step"):
        load_trained(whole, step=3)
    with pytest.raises(ValueError, match="holds one set of weights"):
        load_trained(whole, ema=False)


def test_a_run_may_begin_as_a_model_of_another_project(whole: Path) -> None:
    trained = load_trained(whole)
    train = dataclasses.replace(trained.config.train, init_from=str(whole))
    config = dataclasses.replace(trained.config, train=train)
    params, said = load_source(config, trained.parts)
    jax.tree.map(np.testing.assert_array_equal, params, trained.params)
    assert said == [f"initialised from {whole}; {describe(trained)}"]
    model = dataclasses.replace(config.model, attention_head_dim=None, freq_shift=0)
    other = dataclasses.replace(config, model=model)
    flags = "--model.attention-head-dim 4 --model.freq-shift 1$"
    with pytest.raises(ValueError, match=flags):
        load_source(other, build(other))


@pytest.mark.parametrize("network", NETWORKS)
def test_exporting_gives_back_what_was_imported(tmp_path: Path, network: str) -> None:
    unet, tensors = described(network)
    trained = load(tmp_path, network, SCHEDULERS["trained_betas"])
    (out,) = export_diffusers(trained, tmp_path / "out")
    again = load_trained(out)
    assert again.config == trained.config
    jax.tree.map(np.testing.assert_array_equal, again.params, trained.params)
    # Every key is there, and means the same.
    written = json.loads((out / "unet" / "config.json").read_text())
    turned = {"_diffusers_version", "flip_sin_to_cos"}
    for key in unet.keys() - turned:
        assert written[key] == unet[key], key
    assert set(written) == set(unet)
    exported = load_file(out / "unet" / WEIGHTS)
    assert exported.keys() == tensors.keys()
    if not unet["flip_sin_to_cos"]:
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(exported[name], tensor, err_msg=name)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_survives_diffusers(name: str) -> None:
    process = Process(schedule=name, num_timesteps=40, beta_start=1e-3, beta_end=0.1)
    objective = Objective(prediction="v", variance="fixed_small", clip_x0=False)
    config = dataclasses.asdict(Config(process=process, objective=objective))
    betas = SCHEDULES[name](40, 1e-3, 0.1)
    stored = json.loads(json.dumps(to_scheduler_config(config, betas)))
    found = from_scheduler_config(stored, "here")
    assert found["process"] == config["process"]
    assert found["objective"].items() <= config["objective"].items()


def test_what_diffusers_lacks_is_not_exported(whole: Path, tmp_path: Path) -> None:
    trained = load_trained(whole)
    for field, value in (
        ("prediction", "posterior_mean"),
        ("variance", "learned"),
        ("self_condition", True),
    ):
        objective = dataclasses.replace(trained.config.objective, **{field: value})
        config = dataclasses.replace(trained.config, objective=objective)
        with pytest.raises(ValueError, match=f"objective.{field} is "):
            export_diffusers(trained._replace(config=config), tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="is there already"):
        export_diffusers(trained, tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
