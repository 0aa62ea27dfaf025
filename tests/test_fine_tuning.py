"""Runs that begin as another model: what is kept of it, said, stored and refused."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny
from diffusers_files import WEIGHTS
from test_original import to_torch
from torch_weights import save_torch

from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.checkpoint import open_checkpoints
from ddpm_jax.checkpoint import restore_weights
from ddpm_jax.checkpoint import save
from ddpm_jax.config import Config
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.data import Batch
from ddpm_jax.data import load
from ddpm_jax.exporting import export_diffusers
from ddpm_jax.exporting import export_safetensors
from ddpm_jax.fine_tuning import fields_to_set
from ddpm_jax.fine_tuning import load_source
from ddpm_jax.fine_tuning import remarks
from ddpm_jax.fine_tuning import weights_for
from ddpm_jax.interop.names import pesser_name
from ddpm_jax.interop.names import tensorflow_name
from ddpm_jax.loading import Trained
from ddpm_jax.loading import describe
from ddpm_jax.loading import load_trained
from ddpm_jax.network import held_out_loss
from ddpm_jax.run import initialised_from
from ddpm_jax.run import optimiser_of
from ddpm_jax.train_loop import train
from ddpm_jax.train_step import init_state
from ddpm_jax.transfer import Transfer
from ddpm_jax.trees import named
from ddpm_jax.weights import save_weights
from ddpm_jax.workdir import read_config
from ddpm_jax.workdir import store

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is trained to step 6, as far as its folder tells."""
    workdir = tmp_path_factory.mktemp("runs") / "source"
    config = dataclasses.replace(tiny.CONFIG, **data_with())
    params, average = (filled(config, seed) for seed in (0, 1))
    state = init_state(params, optimiser_of(config))
    state = state._replace(step=np.int32(6), ema_params=average)
    with open_checkpoints(workdir, keep=1) as checkpoints:
        save(checkpoints, state, dataclasses.asdict(config))
    store(workdir, config, load("digits"))
    return workdir


def filled(config: Config, seed: int) -> dict:
    """Parameters of a config's network, all of them random."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(init_params, build(config)), jax.random.key(0))
    return jax.tree.map(
        lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype), shapes
    )


def beginning_as(path: Path, **log: int) -> Config:
    config = tiny.with_train(init_from=str(path))
    return dataclasses.replace(config, log=dataclasses.replace(config.log, **log))


@pytest.fixture(scope="module")
def tuned(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "tuned"
    log = {"every": 1, "eval_every": 1, "checkpoint_every": 1}
    config = beginning_as(source, **log)
    short = dataclasses.replace(config.train, steps=3)
    train(dataclasses.replace(config, train=short), workdir)
    return workdir


def lines(workdir: Path) -> list[dict[str, float]]:
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def data_with(channels: int = 1, size: int = 8) -> dict[str, object]:
    shape = {"channels": channels, "image_size": (size, size)}
    return {"data": dataclasses.replace(tiny.CONFIG.data, **shape)}


def taken_from(config: Config) -> tuple[Any, list[str]]:
    """The weights of the config's source, and what is said of them."""
    model = load_source(config)
    assert model is not None
    return weights_for(config, build(config), model)


def said_of(path: Path, **fields: object) -> str:
    """What is said of a source for a config with other fields."""
    config = dataclasses.replace(beginning_as(path), **data_with() | fields)
    return "\n".join(taken_from(config)[1])


@pytest.mark.slow
def test_the_run_begins_as_the_sources_average_with_a_new_one_at_step_0(
    source: Path, tuned: Path
) -> None:
    # The warm-up's first rate is 0, so the checkpoint of step 1 is what it began with.
    average = restore_weights(source)[0]
    params = restore_weights(tuned, step=1, ema=False)[0]
    jax.tree.map(np.testing.assert_array_equal, params, average)
    close = partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(close, restore_weights(tuned, step=1)[0], average)
    parts, images = load_trained(source).parts, load("digits").held_out[:6]
    key = jax.random.split(jax.random.key(0), 4)[2]
    shared, examples = (average, key), (Batch(images), np.arange(6))
    loss = jax.jit(partial(held_out_loss, loss_fn=parts.loss_fn))(shared, examples)
    assert lines(tuned)[0]["held_out_loss"] == pytest.approx(float(loss.mean()))
    assert [line["step"] for line in lines(tuned)] == [1, 2, 3]


@pytest.mark.slow
def test_a_resumed_run_is_the_uninterrupted_one_though_its_source_is_gone(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tuned: Path
) -> None:
    workdir = tmp_path / "tuned"
    shutil.copytree(tuned, workdir)
    for step in (2, 3):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    stored = read_config(tuned)
    unnamed = dataclasses.replace(stored.train, init_from=None)
    gone = source.rename(source.with_name("gone"))
    try:
        train(dataclasses.replace(stored, train=unnamed), workdir)
    finally:
        gone.rename(source)
    said = capsys.readouterr().out
    assert f"from step 1\nits step 0 was {source}, which is not read again" in said
    assert "\ninitialised from" not in said
    for ema in (True, False):
        resumed, whole = (restore_weights(w, ema=ema)[0] for w in (workdir, tuned))
        jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    assert read_config(workdir) == read_config(tuned)


@pytest.mark.slow
def test_what_a_run_began_as_is_in_its_folder_its_checkpoints_and_what_is_said(
    source: Path, tuned: Path
) -> None:
    stored = restore_weights(tuned)[2]["train"]["init_from"]
    assert read_config(tuned).train.init_from == stored == str(source)
    said = describe(load_trained(tuned))
    assert said.endswith(f"of it still what it was initialised from, {source}")


@pytest.mark.slow
@pytest.mark.parametrize("began", ["source", "tuned"])
def test_another_beginning_of_the_same_run_is_refused_or_of_no_effect(
    began: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = request.getfixturevalue(began)
    before = read_config(workdir)
    train_other = dataclasses.replace(before.train, init_from="other")
    other = dataclasses.replace(before, train=train_other)
    with pytest.raises(ValueError, match="holds a run with another config") as refused:
        train(other, workdir)
    changed = f"train.init_from: {before.train.init_from!r} -> 'other'"
    assert changed in str(refused.value)
    train(other, workdir, allow_config_change=True)
    said_again = capsys.readouterr().out
    assert f"run in {workdir} has begun already; other is not read" in said_again
    assert "nothing is left to do" in said_again
    assert read_config(workdir) == before


@pytest.mark.slow
def test_a_source_is_the_same_however_its_path_is_spelt(
    tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = read_config(tuned)
    spelt = dataclasses.replace(before.train, init_from=f"{before.train.init_from}/")
    train(dataclasses.replace(before, train=spelt), tuned)
    assert "nothing is left to do" in capsys.readouterr().out
    assert read_config(tuned) == before


def test_a_file_of_weights_is_a_source_as_the_run_is(
    source: Path, tmp_path: Path
) -> None:
    average, step, config = restore_weights(source)
    path = save_weights(tmp_path / "ema", average, step=step, config=config)
    config = dataclasses.replace(beginning_as(path), **data_with())
    weights, said = taken_from(config)
    jax.tree.map(np.testing.assert_array_equal, weights, average)
    assert len(said) == 1
    assert said[0].startswith(f"initialised from {path}; weights: EMA (0.9) of step 6")


def test_the_state_has_the_weights_twice_and_the_optimiser_anew(source: Path) -> None:
    config = dataclasses.replace(beginning_as(source), **data_with(channels=3))
    parts = build(config)
    shapes = jax.eval_shape(partial(init_params, parts), jax.random.key(0))
    fresh = jax.tree.map(lambda leaf: np.full(leaf.shape, 7, leaf.dtype), shapes)
    state = init_state(fresh, optimiser_of(config))
    begun = initialised_from(taken_from(config)[0], state)
    jax.tree.map(np.testing.assert_array_equal, begun.params, begun.ema_params)
    jax.tree.map(np.testing.assert_array_equal, begun.opt_state, state.opt_state)
    assert int(begun.step) == 0
    again = {
        name
        for name, layer in begun.params["params"].items()
        if all((leaf == 7).all() for leaf in jax.tree.leaves(layer))
    }
    assert again == {"conv_in", "conv_out"}


@pytest.mark.slow
def test_layers_made_again_and_what_must_be_learned_anew_are_said(
    source: Path,
) -> None:
    assert "\n" not in said_of(source)
    colour = said_of(source, **data_with(channels=3))
    assert colour.endswith("made again, as they do not fit: conv_in, conv_out")
    learned = Objective(variance="learned_range", loss="hybrid")
    assert (
        "do not fit: conv_out\nremark: objective.variance: 'fixed_large' -> "
        in said_of(source, objective=learned)
    )
    model = dataclasses.replace(tiny.MODEL, num_classes=10)
    assert said_of(source, model=model).endswith("do not fit: class_embed")
    process = dataclasses.replace(tiny.CONFIG.process, schedule="cosine")
    objective = Objective(prediction="v", loss_weight="min_snr")
    _, remark = said_of(source, process=process, objective=objective).splitlines()
    assert remark == (
        "remark: process.schedule: 'linear' -> 'cosine', objective.prediction: 'eps' "
        "-> 'v' since the source was trained, so what the network answers must be "
        "learned anew"
    )


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"ch": 16},
            r"down_0_block_0/conv1/bias is \(8,\) in the source and \(16,\) in the new "
            r"network; only .* may differ; to begin as .*, give --model\.ch 8$",
        ),
        (
            {"ch_mult": (1, 2), "num_res_blocks": 2},
            r"absent .*, give --model\.ch-mult 1 --model\.num-res-blocks 1$",
        ),
        ({"num_groups": 2}, "something else; to begin as .* --model.num-groups 4$"),
    ],
)
def test_a_network_of_another_build_is_refused_with_the_flags_that_mend_it(
    fields: dict, sentence: str, source: Path, tmp_path: Path
) -> None:
    model = dataclasses.replace(tiny.MODEL, **fields)
    config = dataclasses.replace(beginning_as(source), model=model)
    with pytest.raises(ValueError, match=sentence):
        train(config, tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (("a", "b"), ("a", "b"), []),
        (("a", "b"), ("b", "a"), ["whose are a, b; here they are b, a"]),
        ((), ("b", "a"), ["whose are not known; here they are b, a"]),
    ],
)
def test_classes_that_get_the_embedding_of_others_are_said(
    before: tuple, after: tuple, said: list
) -> None:
    config = Config(model=Model(num_classes=2), **data_with(size=32))
    source = Trained(config, build(config), {}, step=6, ema=True, classes=before)
    found = remarks(source, config, Transfer((), ()), after)[1:]
    assert len(found) == len(said) and all(map(str.endswith, found, said))


def test_every_field_that_changes_what_the_layers_compute_is_named() -> None:
    others: dict[str, object] = {
        "ch": 64,
        "ch_mult": (1, 2),
        "num_res_blocks": 3,
        "num_groups": 16,
        "norm_epsilon": 1e-5,
        "attention_resolutions": (8,),
        "attention_head_dim": 64,
        "downsample_padding": (1, 1),
        "freq_shift": 0,
    }
    # Those of how it is computed and of training, and the classes, which may differ.
    free = {"dropout", "dtype", "precision", "attention", "remat", "num_classes"}
    assert {field.name for field in dataclasses.fields(Model)} == others.keys() | free
    config = Config(**data_with(size=32))
    for name, value in others.items():
        model = dataclasses.replace(config.model, **{name: value})
        other = dataclasses.replace(config, model=model)
        (flag,) = fields_to_set(config, other)
        assert flag.startswith(f"--model.{name.replace('_', '-')} ")


def test_larger_pictures_attend_at_the_same_levels() -> None:
    small = dataclasses.replace(tiny.MODEL, ch_mult=(1, 1), attention_resolutions=(4,))
    large = dataclasses.replace(small, attention_resolutions=(16,))
    before = dataclasses.replace(tiny.CONFIG, model=small, **data_with(size=8))
    same = dataclasses.replace(before, **data_with(size=32))
    moved = dataclasses.replace(same, model=large)
    assert fields_to_set(before, same) == ["--model.attention-resolutions 16"]
    assert fields_to_set(before, moved) == []


# As small as a network of the original code is, whose groups are 32.
ORIGINAL = dataclasses.replace(
    tiny.CONFIG,
    model=Model(ch=32, ch_mult=(1,), num_res_blocks=1, attention_resolutions=(16,)),
    **data_with(size=16),
)


def written(kind: str, params: dict, out: Path) -> tuple[Path, Path]:
    """A model in one of the forms that are read, and the file with its weights."""
    trained = Trained(ORIGINAL, build(ORIGINAL), params, step=0, ema=True)
    if kind == "diffusers":
        export_diffusers(trained, out)
        return out, out / "unet" / WEIGHTS
    path = out.with_suffix(f".{kind}")
    if kind == "safetensors":
        export_safetensors(trained, path)
    names = named(params["params"])
    if kind == "npz":
        np.savez(path, **{tensorflow_name(n, 1): x for n, x in names.items()})
    if kind == "ckpt":
        tensors = {pesser_name(n, 1): to_torch(n, x) for n, x in names.items()}
        save_torch(path, tensors)
    return path, path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diffusers", "safetensors", "npz", "ckpt"])
def test_a_run_begins_as_a_model_of_any_form_but_not_of_half_a_file(
    kind: str, tmp_path: Path
) -> None:
    params = filled(ORIGINAL, 0)
    path, file = written(kind, params, tmp_path / "model")
    init_from = dataclasses.replace(ORIGINAL.train, init_from=str(path))
    config = dataclasses.replace(ORIGINAL, train=init_from)
    taken, said = taken_from(config)
    jax.tree.map(np.testing.assert_array_equal, taken, params)
    assert said[0].startswith(f"initialised from {path}; weights: ")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"^{file} .*; (get|make) it again"):
        taken_from(config)


def test_a_source_that_is_not_there_is_named_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file or folder nowhere"):
        train(beginning_as(Path("nowhere")), tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


@pytest.mark.slow
def test_train_lists_the_option_by_its_short_name() -> None:
    line = [sys.executable, "train.py", "--help"]
    result = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    assert re.search(r"^│ --init-from ", result.stdout, re.MULTILINE)
