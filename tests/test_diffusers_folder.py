"""Folders of diffusers: the same answers and the same images, here and there."""

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from diffusers_files import FILES
from diffusers_files import NETWORKS
from diffusers_files import SCHEDULERS
from diffusers_files import STEPS
from diffusers_files import WEIGHTS
from diffusers_files import Json
from diffusers_files import described
from diffusers_files import load
from diffusers_files import shard
from diffusers_files import write
from safetensors.numpy import load_file
from torch_weights import save_torch

from ddpm_jax.build import build
from ddpm_jax.build import sampler_of
from ddpm_jax.chains import Chain
from ddpm_jax.chains import chain_of
from ddpm_jax.config import Config
from ddpm_jax.config import Objective
from ddpm_jax.config import Process
from ddpm_jax.exporting import export_diffusers
from ddpm_jax.fine_tuning import load_source
from ddpm_jax.fine_tuning import weights_for
from ddpm_jax.interop.scheduler_config import from_scheduler_config
from ddpm_jax.interop.scheduler_config import sampler_of as own_sampler
from ddpm_jax.interop.scheduler_config import spacing_of
from ddpm_jax.interop.scheduler_config import to_scheduler_config
from ddpm_jax.loading import Trained
from ddpm_jax.loading import describe
from ddpm_jax.loading import load_trained
from ddpm_jax.pretrained import read_pretrained
from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.validation import from_dict


def ask(trained: Trained, x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """What the network answers, in the order of PyTorch's axes."""
    labels = None if trained.config.model.num_classes is None else jnp.array([4, 1])
    network = jax.jit(partial(trained.parts.network, labels=labels))
    answer = network(trained.params, jnp.asarray(x.transpose(0, 2, 3, 1)), t)
    return np.asarray(answer).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Each network of the fixtures, with betas of its own, read once."""

    @cache
    def load_network(name: str) -> Trained:
        return load(tmp_path_factory.mktemp(name), name, SCHEDULERS["trained_betas"])

    return load_network


# Between them these have every key and every kind of layer of the others.
QUICK = {"classes"}
BY_COST = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in NETWORKS
]


@pytest.mark.parametrize("network", BY_COST)
def test_a_network_answers_as_it_does_in_diffusers(
    loaded: Callable[[str], Trained], network: str
) -> None:
    trained = loaded(network)
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
        "ddpm_leading",
        "ddpm_linspace",
        "ddpm_trailing",
        "small",
        "trained_betas",
        "v_cosine",
        "x_0_quad",
        "zero_snr",
    }


def formula(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
    """What the chains ask in the place of a network."""
    return jnp.tanh(x_t) * (1 - t[:, None, None, None] / 40)


def draw(scheduler: Json, shape: tuple[int, ...], steps: int | None) -> np.ndarray:
    """The images of key 0 in the order of PyTorch's axes."""
    sections = from_scheduler_config(scheduler, "here")
    data = {"image_size": shape[1:3], "channels": shape[3]}
    parts = build(from_dict({**sections, "data": data, "model": {"ch_mult": [1]}}))
    sampler = sampler_of(formula, parts.schedule, parts.objective)
    chain = Chain()
    if steps is not None:
        chain = Chain(own_sampler(scheduler), steps, spacing_of(scheduler))
    sample = chain_of(parts._replace(sampler=sampler), chain)
    x_0 = jax.jit(partial(sample, shape=shape))({}, jax.random.key(0))
    return np.asarray(x_0).transpose(0, 3, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_chain_draws_what_its_scheduler_does(name: str) -> None:
    with np.load(FILES / "chains.npz") as file:
        wanted = file[name]
    batch, channels, height, width = wanted.shape
    drawn = draw(SCHEDULERS[name], (batch, height, width, channels), STEPS.get(name))
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


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_weights_of_any_type_become_float32(tmp_path: Path, dtype: type) -> None:
    unet, tensors = described("gray")
    halved = {name: tensor.astype(dtype) for name, tensor in tensors.items()}
    folder = write(tmp_path / "model", unet, halved, SCHEDULERS["ddpm"])
    bias = read_pretrained(folder).params["params"]["conv_in"]["bias"]
    assert bias.dtype == np.float32
    np.testing.assert_array_equal(bias, halved["conv_in.bias"].astype(np.float32))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    return write(folder, *described("heads"), SCHEDULERS["ddpm"])


def test_a_model_of_another_project_says_what_it_is(whole: Path) -> None:
    trained = load_trained(whole)
    assert describe(trained) == f"weights: {whole}, a folder of diffusers"
    with pytest.raises(ValueError, match="is no run; there is no other step"):
        load_trained(whole, step=3)
    with pytest.raises(ValueError, match="holds one set of weights"):
        load_trained(whole, ema=False)


@pytest.mark.slow
def test_a_run_may_begin_as_a_model_of_another_project(whole: Path) -> None:
    trained = load_trained(whole)
    train = dataclasses.replace(trained.config.train, init_from=str(whole))
    config = dataclasses.replace(trained.config, train=train)
    source = load_source(config)
    assert source is not None
    params, said = weights_for(config, trained.parts, source)
    jax.tree.map(np.testing.assert_array_equal, params, trained.params)
    assert said == [f"initialised from {whole}; {describe(trained)}"]
    model = dataclasses.replace(config.model, attention_head_dim=None, freq_shift=0)
    other = dataclasses.replace(config, model=model)
    flags = "--model.attention-head-dim 4 --model.freq-shift 1$"
    with pytest.raises(ValueError, match=flags):
        weights_for(other, build(other), source)


@pytest.mark.parametrize("network", BY_COST)
def test_exporting_gives_back_what_was_imported(
    loaded: Callable[[str], Trained], tmp_path: Path, network: str
) -> None:
    unet, tensors = described(network)
    trained = loaded(network)
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
    stored = json.loads(
        json.dumps(to_scheduler_config(config, betas, spacing="uniform"))
    )
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
