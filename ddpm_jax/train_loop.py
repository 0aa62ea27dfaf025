"""A training run, from a Config and a folder to a trained model: all the wiring."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
import optax

from ddpm_jax import parallel
from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.build import held_out_loss
from ddpm_jax.build import init_params
from ddpm_jax.build import sample_images
from ddpm_jax.checkpoint import open_checkpoints
from ddpm_jax.checkpoint import restore
from ddpm_jax.checkpoint import save
from ddpm_jax.config import Config
from ddpm_jax.config import describe
from ddpm_jax.config import from_dict
from ddpm_jax.config import validate
from ddpm_jax.data import Dataset
from ddpm_jax.data import batches
from ddpm_jax.data import load
from ddpm_jax.logs import Logs
from ddpm_jax.meter import Meter
from ddpm_jax.stopping import InterruptedRunError
from ddpm_jax.stopping import check_finite
from ddpm_jax.stopping import stop_signals
from ddpm_jax.train_step import TrainState
from ddpm_jax.train_step import init_state
from ddpm_jax.train_step import make_optimiser
from ddpm_jax.train_step import train_step
from ddpm_jax.workdir import check_config
from ddpm_jax.workdir import check_data
from ddpm_jax.workdir import locked
from ddpm_jax.workdir import store

if TYPE_CHECKING:
    from ddpm_jax.checkpoint import CheckpointManager


class Keys(NamedTuple):
    """The named parts of a run's one root key."""

    init: jax.Array
    train: jax.Array
    evaluate: jax.Array
    sample: jax.Array


Examples = tuple[np.ndarray, np.ndarray]
"""uint8 images [n, H, W, C], and the number [n] of each, which decides its noise."""


class Run(NamedTuple):
    """What the loop calls, compiled before the first step, and with what."""

    step: Callable[..., Any]  # (state, images, key) -> state, metrics
    loss: Callable[..., Any]  # ((params, key), examples) -> [n]
    sample: Callable[..., Any]  # ((params, key), index) -> uint8 [n, H, W, C]
    held_out: list[Examples]  # a batch at a time
    keys: Keys


def train(config: Config, workdir: Path, *, allow_config_change: bool = False) -> None:
    """Trains until config.train.steps, going on from the newest checkpoint in workdir.

    Raises:
      ValueError, FileNotFoundError: one sentence, before anything is compiled, if the
        config, the images, the devices and the workdir do not go together.
      NonFiniteUpdateError: if an update was not finite; names the first such step.
      InterruptedRunError: on Ctrl-C or SIGTERM, once the state is saved.
    """
    config = validate(config)
    say(parallel.device_report())
    parallel.check_batch_size(config.train.batch_size, jax.device_count())
    if not allow_config_change:
        check_config(workdir, config)
    dataset = load_data(config)
    if not allow_config_change:
        check_data(workdir, dataset)
    config = with_shape(config, dataset)
    parts = build(config)
    say(describe(config))
    for line in remarks(config, parts):
        say(line)
    log = config.log
    with (
        locked(workdir),
        open_checkpoints(
            workdir, keep=log.keep, keep_period=log.keep_period
        ) as checkpoints,
    ):
        state, optimiser, keys = start(config, parts, checkpoints)
        store(workdir, config, dataset)
        first = int(state.step)
        if first >= config.train.steps:
            say(f"{workdir} is trained to step {first} already; nothing is left to do")
            return
        run = compile_run(config, dataset, parts, state, optimiser, keys)
        with Logs(workdir, first, active=jax.process_index() == 0) as logs:
            loop(config, dataset, state, run, logs, checkpoints)
    say(f"checkpoints: {workdir / 'checkpoints'}")
    say(f"samples:     {workdir / 'samples'}")
    say(f"scalars:     {logs.metrics} and {workdir / 'tensorboard'}")


def say(line: object) -> None:
    """Prints, in the first process only."""
    if jax.process_index() == 0:
        print(line, flush=True)


def load_data(config: Config) -> Dataset:
    """Loads the images and prints what they are."""
    data = config.data
    dataset = load(
        data.source,
        image_size=data.image_size,
        channels=data.channels,
        fit=data.fit,
        held_out=data.held_out,
        seed=data.seed,
    )
    say(dataset.report)
    return dataset


def remarks(config: Config, parts: Parts) -> list[str]:
    """What is legal in a config and yet hardly meant."""
    lines, last = [], float(parts.schedule.alphas_cumprod[-1])
    if last > 0.05:
        lines.append(
            f"remark: alpha_bar ends at {last:.2g}, so training never sees the pure "
            "noise that sampling starts from; more steps or larger betas mend that"
        )
    levels = range(len(config.model.ch_mult))
    heights = {parts.shape[0] // 2**level for level in levels}
    for height in sorted(set(config.model.attention_resolutions) - heights):
        lines.append(f"remark: no level has the height {height} that is to attend")
    return lines


def with_shape(config: Config, dataset: Dataset) -> Config:
    """The config with the size and channels that the images turned out to have."""
    _, height, width, channels = dataset.train.shape
    fields = dataclasses.asdict(config)
    fields["data"] |= {"image_size": (height, width), "channels": channels}
    return from_dict(fields)


def start(
    config: Config, parts: Parts, checkpoints: "CheckpointManager"
) -> tuple[TrainState, optax.GradientTransformation, Keys]:
    """The state of the newest checkpoint, or a fresh one, on all devices."""
    train = config.train
    optimiser = make_optimiser(
        train.learning_rate,
        warmup_steps=train.warmup_steps,
        decay_steps=train.steps if train.decay == "cosine" else None,
        grad_clip=train.grad_clip,
    )
    keys = Keys(*jax.random.split(jax.random.key(train.seed), 4))

    def initial_state(key: jax.Array) -> TrainState:
        return init_state(init_params(parts, key), optimiser)

    target = parallel.abstract(jax.eval_shape(initial_state, keys.init))
    count = sum(leaf.size for leaf in jax.tree.leaves(target.params))
    say(f"network: {count:,} parameters")
    state = restore(checkpoints, target)
    if state is None:
        state = parallel.replicate(parallel.run_once(initial_state, keys.init))
    else:
        say(f"resuming from step {int(state.step)}")
    return state, optimiser, keys


def compile_run(
    config: Config,
    dataset: Dataset,
    parts: Parts,
    state: TrainState,
    optimiser: optax.GradientTransformation,
    keys: Keys,
) -> Run:
    """Compiles the step, the held-out loss and the sampler."""
    say("compiling; later starts find the programs in the cache ...")
    began = time.perf_counter()
    step = partial(
        train_step,
        loss_fn=parts.loss_fn,
        optimiser=optimiser,
        ema_decay=config.train.ema_decay,
        flip=config.data.flip,
        axis_name=parallel.AXIS,
    )
    keys = Keys(*map(parallel.replicate, keys))
    batch_size = config.train.batch_size // jax.process_count()
    images = parallel.shard(np.zeros((batch_size, *parts.shape), np.uint8))
    held_out = held_out_batches(dataset, config.log.eval_images, batch_size)
    loss = partial(held_out_loss, loss_fn=parts.loss_fn)
    sample = partial(sample_images, parts=parts)
    index = np.arange(config.log.sample_images)
    shared = state.ema_params, keys.sample
    run = Run(
        step=parallel.compile_step(step, state, images, keys.train),
        loss=parallel.compile_map(loss, shared, held_out[0]),
        sample=parallel.compile_map(sample, shared, index),
        held_out=held_out,
        keys=keys,
    )
    say(f"compiled in {time.perf_counter() - began:.1f} s")
    return run


def held_out_batches(dataset: Dataset, count: int, batch_size: int) -> list[Examples]:
    """The first count held-out images, in batches that surely fit the memory."""
    index = np.arange(min(count, len(dataset.held_out)))
    parts = [
        index[start : start + batch_size] for start in range(0, len(index), batch_size)
    ]
    return [(dataset.held_out[part], part) for part in parts]


def loop(
    config: Config,
    dataset: Dataset,
    state: TrainState,
    run: Run,
    logs: Logs,
    checkpoints: "CheckpointManager",
) -> None:
    """Steps to the end, and between steps logs, evaluates, samples and saves."""
    steps, log, first = config.train.steps, config.log, int(state.step)
    feed = batches(
        dataset.train,
        seed=config.train.seed,
        start_step=first,
        batch_size=config.train.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )

    def due(done: int, every: int) -> bool:
        return done % every == 0 or done == steps

    meter = Meter(config.train.batch_size, first, steps, active=logs.active)
    with stop_signals() as stop, meter:
        for done in range(first + 1, steps + 1):
            state, metrics = run.step(state, parallel.shard(next(feed)), run.keys.train)
            meter.add(metrics)
            stopped = stop.is_set()
            evaluates, samples = due(done, log.eval_every), due(done, log.sample_every)
            saves = due(done, log.checkpoint_every) or stopped
            if not (due(done, log.every) or evaluates or samples or saves):
                continue
            scalars = meter.read()
            check_finite(scalars.pop("bad_step"), checkpoints.latest_step())
            if evaluates:
                scalars |= evaluate(state, run)
            logs.scalars(done, scalars)
            meter.show(scalars)
            if samples:
                index = np.arange(log.sample_images)
                shared = state.ema_params, run.keys.sample
                logs.images(done, run.sample(shared, index))
            if saves:
                save(checkpoints, state, dataclasses.asdict(config))
            if stopped:
                raise InterruptedRunError(
                    f"stopped at step {done}, which is saved; the same command goes on "
                    "from there"
                )
            meter.restart()


def evaluate(state: TrainState, run: Run) -> dict[str, float]:
    """The mean loss on held-out images, of the parameters and of their average."""
    weights = {"held_out_loss": state.params, "held_out_loss_ema": state.ema_params}
    means = {}
    for name, params in weights.items():
        shared = params, run.keys.evaluate
        losses = [run.loss(shared, batch) for batch in run.held_out]
        means[name] = float(np.concatenate(losses).mean())
    return means
