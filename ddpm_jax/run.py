"""What a training run calls: its state, and its functions, compiled for all devices."""

import itertools
import time
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
import optax

from ddpm_jax import devices
from ddpm_jax import parallel
from ddpm_jax import processes
from ddpm_jax.build import Parts
from ddpm_jax.build import init_params
from ddpm_jax.chains import Chain
from ddpm_jax.chains import sample_images
from ddpm_jax.checkpoint import restore
from ddpm_jax.config import Config
from ddpm_jax.data import Batch
from ddpm_jax.data import Dataset
from ddpm_jax.network import held_out_loss
from ddpm_jax.train_step import TrainState
from ddpm_jax.train_step import init_state
from ddpm_jax.train_step import make_optimiser
from ddpm_jax.train_step import train_step
from ddpm_jax.train_step import train_steps
from ddpm_jax.transfer import transfer

if TYPE_CHECKING:
    from ddpm_jax.checkpoint import CheckpointManager


class Keys(NamedTuple):
    """The named parts of a run's one root key."""

    init: jax.Array
    train: jax.Array
    evaluate: jax.Array
    sample: jax.Array


Numbered = tuple[Batch, np.ndarray]
"""n images, and the number [n] of each, which decides its noise."""


class Run(NamedTuple):
    """What the loop calls, compiled before the first step, and with what."""

    step: Callable[..., Any]  # (state, batch, key) -> state, metrics
    loss: Callable[..., Any]  # ((params, key), examples) -> [n]
    sample: Callable[..., Any]  # ((params, key), index) -> uint8 [n, H, W, C]
    held_out: list[Numbered]  # a batch at a time
    keys: Keys
    measure: Callable[..., dict[str, float]] | None = None  # (ema_params, stop)
    score: str | None = None  # the scalar that tells which checkpoint is best


def say(line: object) -> None:
    """Prints, in the first process only."""
    if processes.first_process():
        print(line, flush=True)


def start(
    config: Config,
    parts: Parts,
    checkpoints: "CheckpointManager",
    source: optax.Params | None = None,
) -> tuple[TrainState, optax.GradientTransformation, Keys]:
    """The state of the newest checkpoint, or a fresh one, on all devices.

    The parameters of a fresh one are those of a source as far as they fit.
    """
    optimiser = optimiser_of(config)
    keys = Keys(*jax.random.split(jax.random.key(config.train.seed), 4))
    fresh = partial(initial_state, parts, optimiser)
    target = parallel.abstract(jax.eval_shape(fresh, keys.init))
    count = sum(leaf.size for leaf in jax.tree.leaves(target.params))
    say(f"network: {count:,} parameters")
    state = restore(checkpoints, target)
    if state is None:
        state = parallel.run_once(fresh, keys.init)
        state = parallel.replicate(initialised_from(source, state))
    else:
        say(f"resuming from step {int(state.step)}")
        if config.train.init_from is not None:
            say(f"its step 0 was {config.train.init_from}, which is not read again")
    devices.release_memory()
    return state, optimiser, keys


def optimiser_of(config: Config) -> optax.GradientTransformation:
    """The optimiser of a config."""
    train = config.train
    return make_optimiser(
        train.learning_rate,
        warmup_steps=train.warmup_steps,
        decay_steps=train.steps if train.decay == "cosine" else None,
        grad_clip=train.grad_clip,
    )


def initial_state(
    parts: Parts, optimiser: optax.GradientTransformation, key: jax.Array
) -> TrainState:
    """The state before step 0, of parameters drawn from a key."""
    return init_state(init_params(parts, key), optimiser, parts.history)


def initialised_from(source: optax.Params | None, state: TrainState) -> TrainState:
    """The state before step 0 with the parameters of a source, if there is one.

    Adam's moments are 0 there, whatever the parameters; the EMA begins as these.
    """
    if source is None:
        return state
    params, _ = transfer(source, state.params)
    return state._replace(params=params, ema_params=params)


def step_of(
    config: Config, parts: Parts, optimiser: optax.GradientTransformation
) -> Callable[..., Any]:
    """The train step of a config, or several in one: (state, batch, key) -> ..."""
    train = config.train
    step = partial(
        train_step,
        loss_fn=parts.loss_fn,
        optimiser=optimiser,
        draw_t=parts.draw_t,
        ema_decay=train.ema_decay,
        flip=config.data.flip,
        accumulate=train.accumulate,
        axis_name=parallel.AXIS,
    )
    return partial(train_steps, step=step) if train.steps_per_dispatch > 1 else step


def compile_run(
    config: Config,
    dataset: Dataset,
    parts: Parts,
    state: TrainState,
    optimiser: optax.GradientTransformation,
    keys: Keys,
) -> Run:
    """Compiles the step, the held-out loss and the sampler."""
    together = config.train.steps_per_dispatch
    if int(state.step) % together:
        raise ValueError(
            f"the run stands at step {int(state.step)}, which is not a multiple of "
            f"train.steps_per_dispatch {together}: go on with 1 until a checkpoint at "
            "such a multiple, or use one that divides the step"
        )
    say("compiling; later starts find the programs in the cache ...")
    began = time.perf_counter()
    keys = Keys(*map(parallel.replicate, keys))
    step = compile_train_step(config, parts, state, optimiser, keys.train)
    batch_size = config.train.batch_size // jax.process_count()
    held_out = held_out_batches(dataset, config.log.eval_images, batch_size)
    loss = partial(held_out_loss, loss_fn=parts.loss_fn)
    # Of a network that is told of classes: one of each in turn.
    chain = Chain(label=tuple(range(config.model.num_classes or 0)))
    sample = partial(sample_images, parts=parts, chain=chain)
    index = np.arange(config.log.sample_images)
    shared = state.ema_params, keys.sample
    run = Run(
        step=step,
        loss=parallel.compile_shared_map(loss, shared, held_out[0]),
        sample=parallel.compile_shared_map(sample, shared, index),
        held_out=held_out,
        keys=keys,
    )
    devices.release_memory()
    say(f"compiled in {time.perf_counter() - began:.1f} s")
    return run


def compile_train_step(
    config: Config,
    parts: Parts,
    state: TrainState,
    optimiser: optax.GradientTransformation,
    key: jax.Array,
) -> Callable[..., Any]:
    """Compiles the step; MemoryError, with what would fit, if it exceeds the memory."""
    train, step = config.train, step_of(config, parts, optimiser)
    share = train.batch_size // jax.process_count()
    labels = None if config.model.num_classes is None else np.zeros(share, np.int64)
    blank = Batch(np.zeros((share, *parts.shape), np.uint8), labels)
    batch = next_batches(itertools.repeat(blank), train.steps_per_dispatch)
    compiled = parallel.compile_step(step, state, batch, key)
    needed, limit = devices.memory_of(compiled), devices.memory_limit()
    if needed is not None:
        say(f"memory: {devices.describe(needed, limit)}")
        devices.check_memory(
            needed,
            limit,
            params=state.params,
            batch=train.batch_size // jax.device_count(),
            accumulate=train.accumulate,
        )
    return compiled


def next_batches(feed: Iterator[Batch], count: int) -> parallel.Tree:
    """The next batch on the devices, or as many as one dispatch takes."""
    if count == 1:
        return parallel.shard(next(feed))
    some = itertools.islice(feed, count)
    return parallel.shard(jax.tree.map(lambda *x: np.stack(x), *some), axis=1)


def held_out_batches(dataset: Dataset, count: int, batch_size: int) -> list[Numbered]:
    """The first count held-out images, in batches that surely fit the memory."""
    index = np.arange(min(count, len(dataset.held_out)))
    parts = [
        index[start : start + batch_size] for start in range(0, len(index), batch_size)
    ]
    labels = dataset.held_out_labels
    return [
        (Batch(dataset.held_out[part], None if labels is None else labels[part]), part)
        for part in parts
    ]
