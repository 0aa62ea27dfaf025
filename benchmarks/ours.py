"""This project's train step and sampler, wired as train.py and sample.py wire them."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple
from typing import cast

import jax
import numpy as np
import optax

from benchmarks.report import ROOT
from benchmarks.work import Dtype
from benchmarks.work import Task
from benchmarks.work import Work
from ddpm_jax import command
from ddpm_jax import parallel
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.chains import sample_images
from ddpm_jax.config import Config
from ddpm_jax.data import Batch
from ddpm_jax.devices import release_memory
from ddpm_jax.run import initial_state
from ddpm_jax.run import optimiser_of
from ddpm_jax.run import step_of
from ddpm_jax.train_step import TrainState
from ddpm_jax.validation import load_config
from ddpm_jax.validation import validate

CIFAR = ROOT / "configs" / "cifar.py"


class Training(NamedTuple):
    """A compiled train step and what it is called with: step(state, batch, key)."""

    step: jax.stages.Compiled
    state: TrainState
    batch: Batch
    key: jax.Array


def make(name: str, task: Task) -> Work:
    """The work of the worker "ours"."""
    command.set_up_jax()
    config = read_config(ch=task.ch, batch_size=task.batch_size, dtype=task.dtype)
    work = train_work if task.kind == "train" else sample_work
    return work(config, task)


def device_peak() -> int:
    """The most bytes that were in use on the first device."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return int(statistics["peak_bytes_in_use"])


def train_work(config: Config, task: Task) -> Work:
    """A turn is one train step."""
    training = make_training(config)
    return Work(train_turn(training), count(training.state.params))


def train_turn(training: Training) -> Callable[[], None]:
    """A function that takes one step, on from the last, and waits for it."""
    step, state, batch, key = training

    def turn() -> None:
        nonlocal state
        state, _ = step(state, batch, key)
        jax.block_until_ready(state)

    return turn


def sample_work(config: Config, task: Task) -> Work:
    """A turn is one scanned chain, as long as the steps of a turn."""
    sample, params = make_sampler(shortened(config, task.steps), task.batch_size)
    return Work(sample, count(params))


def shortened(config: Config, steps: int) -> Config:
    """The config with a process of so many steps, each of which costs the same."""
    process = dataclasses.replace(config.process, num_timesteps=steps)
    return dataclasses.replace(config, process=process)


def count(params: optax.Params) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def read_config(
    path: Path = CIFAR,
    *,
    ch: int | None = None,
    batch_size: int | None = None,
    dtype: Dtype | None = None,
    accumulate: int | None = None,
    remat: bool | None = None,
) -> Config:
    """The config of a file, with other numbers where they are given.

    Its images are 32x32x3 if it leaves that to the data.
    """
    config = load_config(path)
    changes: dict[str, dict[str, object]] = {
        "data": {
            "image_size": config.data.image_size or (32, 32),
            "channels": config.data.channels or 3,
        },
        "model": {"ch": ch, "dtype": dtype, "remat": remat},
        "train": {"batch_size": batch_size, "accumulate": accumulate},
    }
    sections = {
        name: dataclasses.replace(
            getattr(config, name), **{k: v for k, v in new.items() if v is not None}
        )
        for name, new in changes.items()
    }
    return validate(dataclasses.replace(config, **sections))


def make_training(config: Config) -> Training:
    """Compiles the train step, draws the parameters, and makes up a batch."""
    state = make_state(config)
    release_memory()  # here and below, as ddpm_jax.run does
    step, batch, key = compile_training(config)
    release_memory()
    return Training(step, state, batch, key)


def make_state(config: Config) -> TrainState:
    """A fresh state, on all devices."""
    initial = partial(initial_state, build(config), optimiser_of(config))
    state: TrainState = parallel.run_once(initial, jax.random.key(0))
    return TrainState(*parallel.replicate(state))


def compile_training(
    config: Config,
) -> tuple[jax.stages.Compiled, Batch, jax.Array]:
    """The compiled train step, a batch and a key for it; makes no parameters."""
    parts, optimiser = build(config), optimiser_of(config)
    step = step_of(config, parts, optimiser)
    initial = partial(initial_state, parts, optimiser)
    state = parallel.abstract(jax.eval_shape(initial, jax.random.key(0)))
    shape = config.train.batch_size, *parts.shape
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    batch, key = parallel.shard(Batch(noise)), parallel.replicate(jax.random.key(1))
    # In one process compile_step returns what the compiler made; it promises less.
    compiled = parallel.compile_step(step, state, batch, key)
    return cast("jax.stages.Compiled", compiled), batch, key


def make_sampler(
    config: Config, batch_size: int
) -> tuple[Callable[[], np.ndarray], optax.Params]:
    """Compiles a config's chain: a function that draws a batch, and its weights."""
    parts, key = build(config), jax.random.key(0)
    params = parallel.run_once(partial(init_params, parts), key)
    shared = parallel.replicate((params, key))
    index = np.arange(batch_size)
    sample = partial(sample_images, parts=parts)
    chain = parallel.compile_map(sample, shared, index)
    return partial(chain, shared, index), params
