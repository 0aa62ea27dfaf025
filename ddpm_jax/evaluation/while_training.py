"""The Frechet distance of a run's samples while it trains: fid of evaluate.py, again
and again.

Samples are drawn from the EMA by one compiled program, always from the same noise, and
compared with all training images, whose statistics are computed once. Nothing is kept
of the samples, nor is anything of the training state touched. What evaluate.py says of
a checkpoint, with the same options, is the number that was logged at its step.
"""

from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import NamedTuple

import jax
import numpy as np
import optax

from ddpm_jax import parallel
from ddpm_jax import processes
from ddpm_jax.build import Parts
from ddpm_jax.chains import compile_images
from ddpm_jax.chains import remarks
from ddpm_jax.config import Config
from ddpm_jax.data import Images
from ddpm_jax.data import crc32_of_some
from ddpm_jax.evaluation.sample_protocols import label
from ddpm_jax.evaluation.sample_protocols import samples_protocol
from ddpm_jax.evaluation.settings import Settings
from ddpm_jax.evaluation.task import Task
from ddpm_jax.loading import Trained
from ddpm_jax.meter import image_bar
from ddpm_jax.metrics.extractors import Features
from ddpm_jax.metrics.extractors import compile_extractor
from ddpm_jax.metrics.frechet import frechet_distance
from ddpm_jax.metrics.statistics import Moments
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import load_statistics
from ddpm_jax.metrics.statistics import merge
from ddpm_jax.metrics.statistics import merge_processes
from ddpm_jax.metrics.statistics import moments_of
from ddpm_jax.metrics.statistics import save_statistics
from ddpm_jax.metrics.statistics import statistics_of
from ddpm_jax.metrics.statistics import stream
from ddpm_jax.run import say

REFUSED = "the metric of log.metric_every can't be measured"
HELD_OUT = "held_out_loss_ema"
"""What is best where no metric is measured."""


class Metric(NamedTuple):
    """A distance to the training images, ready to be measured."""

    name: str
    numbers: list[np.ndarray]  # of this process's samples, a batch at a time
    images_of: Callable[..., np.ndarray]  # ((params, key), numbers) -> uint8
    extract: Callable[[np.ndarray], Features]
    key: jax.Array
    reference: Statistics


def metric_task(config: Config, parts: Parts, workdir: Path) -> Task | None:
    """What evaluate.py would be told to measure the same; None if nothing is.

    Nothing is compiled. A model that knows classes draws each in turn, as for its grid.

    Raises:
      ValueError, FileNotFoundError: in one sentence, if the extractor does not take
        these images or its weights are missing, or the model allows no such chain.
    """
    log, count = config.log, jax.process_count()
    if log.metric_every is None:
        return None
    if log.metric_samples < count:
        raise ValueError(
            f"log.metric_samples is {log.metric_samples} and there are {count} "
            f"processes; give at least {count}"
        )
    total = parts.schedule.num_timesteps
    if log.metric_steps is not None and log.metric_steps > total:
        raise ValueError(
            f"log.metric_steps is {log.metric_steps}; give 1..{total}, the steps of "
            "the model, or None for all"
        )
    settings = Settings(
        batch_size=config.train.batch_size // count,
        num_samples=log.metric_samples,
        extractor=log.metric_extractor,
        sampler=log.metric_sampler,
        steps=log.metric_steps,
        label=tuple(map(str, range(config.model.num_classes or 0))),
    )
    task = Task(Trained(config, parts, {}, step=0, ema=True), settings, workdir)
    try:
        samples_protocol(task)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{REFUSED}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{REFUSED}: {error}") from None
    return task


def score_name(config: Config, task: Task | None) -> str | None:
    """The name of the number that tells which checkpoint is best; None: none is."""
    if not config.log.keep_best:
        return None
    return HELD_OUT if task is None else label(task, "fid")


def compile_metric(task: Task, images: Images, params: optax.Params) -> Metric:
    """Compiles the sampler and the extractor, and measures the training images.

    params are an example of what `measure` will be given.
    """
    settings, trained = task.settings, task.trained
    chain = task.chain
    name = label(task, "fid")
    say(
        f"metric: {name}, {chain.sampler} in "
        f"{chain.steps or trained.parts.schedule.num_timesteps} steps, seed "
        f"{settings.seed}, against {len(images)} training images"
    )
    for line in remarks(trained.parts, chain):
        say(line)
    key = parallel.replicate(jax.random.key(settings.seed))
    numbers = own_batches(settings.num_samples or 0, settings.batch_size)
    size = settings.batch_size
    images_of = compile_images(trained.parts, chain, (params, key), size)
    extract = compile_extractor(task.extractor, trained.parts.shape, size)
    reference = reference_of(task, images, extract)
    return Metric(name, numbers, images_of, extract, key, reference)


def reference_of(
    task: Task, images: Images, extract: Callable[[np.ndarray], Features]
) -> Statistics:
    """The statistics of all training images, from the workdir if they are there.

    The name of the file holds what they depend on.
    """
    identity = f"{len(images)}_{crc32_of_some(images):08x}"
    path = task.out / f"reference_{task.extractor.name}_{identity}.npz"
    if path.exists():
        return load_statistics(path)

    def features() -> Iterator[np.ndarray]:
        rows = own_batches(len(images), task.settings.batch_size)
        with image_bar(sum(map(len, rows)), 0) as bar:
            for row in rows:
                yield np.asarray(extract(np.asarray(images[row])).features)
                bar.update(len(row))

    moments = merge_processes(stream(features()))
    reference = statistics_of(moments, task.extractor.name)
    if processes.first_process():
        save_statistics(path, reference)
    return reference


def own_batches(count: int, batch_size: int) -> list[np.ndarray]:
    """The numbers of this process's images of so many, a batch at a time.

    Example:
      >>> [part.tolist() for part in own_batches(5, 2)]
      [[0, 1], [2, 3], [4]]
    """
    own = np.arange(count)[processes.process_slice(count)]
    return [own[i : i + batch_size] for i in range(0, len(own), batch_size)]


def measure(metric: Metric, params: optax.Params, stop: Event) -> dict[str, float]:
    """The distance under its name, or {} if a stop is asked for meanwhile."""
    own: Moments | None = None
    for numbers in metric.numbers:
        # Several processes put their parts together below, so that none may be absent.
        if stop.is_set() and jax.process_count() == 1:
            return {}
        images = metric.images_of((params, metric.key), numbers)
        part = moments_of(np.asarray(metric.extract(images).features))
        own = part if own is None else merge(own, part)
    assert own is not None
    found, real = statistics_of(merge_processes(own)), metric.reference
    return {metric.name: frechet_distance(found.mu, found.sigma, real.mu, real.sigma)}
