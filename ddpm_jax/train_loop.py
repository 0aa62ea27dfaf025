"""A training run, from a Config and a folder to a trained model: all the wiring."""

import dataclasses
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from ddpm_jax import devices
from ddpm_jax import parallel
from ddpm_jax import processes
from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.checkpoint import latest_step
from ddpm_jax.checkpoint import open_checkpoints
from ddpm_jax.checkpoint import save
from ddpm_jax.config import Config
from ddpm_jax.config import Process
from ddpm_jax.config import Train
from ddpm_jax.config import dataset_of
from ddpm_jax.config import describe
from ddpm_jax.config import schedule_of
from ddpm_jax.data import Dataset
from ddpm_jax.data import batches
from ddpm_jax.evaluation.while_training import compile_metric
from ddpm_jax.evaluation.while_training import measure
from ddpm_jax.evaluation.while_training import metric_task
from ddpm_jax.evaluation.while_training import score_name
from ddpm_jax.files import locked
from ddpm_jax.fine_tuning import load_source
from ddpm_jax.fine_tuning import weights_for
from ddpm_jax.images import class_columns
from ddpm_jax.loading import MOST_UNTRAINED
from ddpm_jax.loading import initial_share
from ddpm_jax.logs import Logs
from ddpm_jax.meter import Meter
from ddpm_jax.processes import first_process
from ddpm_jax.run import Run
from ddpm_jax.run import compile_run
from ddpm_jax.run import next_batches
from ddpm_jax.run import say
from ddpm_jax.run import start
from ddpm_jax.stopping import InterruptedRunError
from ddpm_jax.stopping import check_finite
from ddpm_jax.stopping import stop_signals
from ddpm_jax.train_step import TrainState
from ddpm_jax.validation import from_dict
from ddpm_jax.validation import validate
from ddpm_jax.workdir import check_config
from ddpm_jax.workdir import check_data
from ddpm_jax.workdir import store
from ddpm_jax.workdir import with_source

if TYPE_CHECKING:
    from ddpm_jax.checkpoint import CheckpointManager


def train(config: Config, workdir: Path, *, allow_config_change: bool = False) -> None:
    """Trains until config.train.steps, going on from the newest checkpoint in workdir.

    Raises:
      ValueError, FileNotFoundError: one sentence, before anything is compiled, if the
        config, the images, the devices and the workdir do not go together.
      MemoryError: with what would fit, if a step needs more than a device has.
      NonFiniteUpdateError: if an update was not finite; names the first such step.
      InterruptedRunError: on Ctrl-C or SIGTERM, once the state is saved.
    """
    config = validate(config)
    say(devices.device_report())
    parallel.check_batch_size(
        config.train.batch_size,
        jax.device_count(),
        config.train.accumulate,
        "train.batch_size",
    )
    if not allow_config_change:
        check_config(workdir, config)
    begun = latest_step(workdir) is not None
    model = None if begun else load_source(config)  # first: to read images takes longer
    dataset = with_labels(config, load_data(config))
    if not allow_config_change:
        check_data(workdir, dataset)
    given = config.train.init_from
    config = with_source(workdir, with_shape(config, dataset))
    if given not in (None, config.train.init_from):
        say(f"remark: the run in {workdir} has begun already; {given} is not read")
    parts = build(config)
    say(describe(config))
    for line in (*remarks(config, parts), *pace_remarks(config.train)):
        say(line)
    task = metric_task(config, parts, workdir)
    score = score_name(config, task)
    source = None
    if model is not None:
        source, lines = weights_for(config, parts, model, dataset.report.classes)
        say("\n".join(lines))
    log = config.log
    with (
        locked(workdir, "is training") if first_process() else nullcontext(),
        open_checkpoints(
            workdir, keep=log.keep, keep_period=log.keep_period, best=score
        ) as checkpoints,
    ):
        state, optimiser, keys = start(config, parts, checkpoints, source)
        del model, source  # which are in the memory that the step needs
        first = int(state.step)
        if first >= config.train.steps:
            say(f"{workdir} is trained to step {first} already; nothing is left to do")
            return
        run = compile_run(config, dataset, parts, state, optimiser, keys)
        run = run._replace(score=score)
        if task is not None:
            metric = compile_metric(task, dataset.train, state.ema_params)
            run = run._replace(measure=partial(measure, metric))
        store(workdir, config, dataset)
        with Logs(workdir, first, active=first_process()) as logs:
            loop(config, dataset, state, run, logs, checkpoints)
    say(f"checkpoints: {workdir / 'checkpoints'}")
    say(f"samples:     {workdir / 'samples'}")
    say(f"scalars:     {logs.metrics} and {workdir / 'tensorboard'}")


def load_data(config: Config) -> Dataset:
    """Loads the images and prints what they are."""
    dataset = dataset_of(config.data)
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
    if config.train.steps_per_dispatch > 1 and jax.default_backend() == "cpu":
        lines.append(
            "remark: train.steps_per_dispatch is for GPUs and TPUs; on a CPU a "
            "gradient inside a loop is some 20 times slower"
        )
    dropped = config.train.label_dropout not in (0.0, Train.label_dropout)
    if dropped and config.model.num_classes is None:
        lines.append(
            "remark: train.label_dropout is of labels, and the network is told none; "
            "--model.num-classes tells it"
        )
    lines += process_remarks(config)
    levels = range(len(config.model.ch_mult))
    heights = {parts.shape[0] // 2**level for level in levels}
    for height in sorted(set(config.model.attention_resolutions) - heights):
        lines.append(f"remark: no level has the height {height} that is to attend")
    return lines


def process_remarks(config: Config) -> list[str]:
    """A line for each field of betas that is set and that their schedule does not use.

    Example:
      >>> process_remarks(Config(process=Process("cosine", beta_end=0.5)))
      ['remark: the schedule cosine does not use process.beta_end']
    """
    lines, betas = [], schedule_of(config).betas
    for name in ("beta_start", "beta_end"):
        usual = dataclasses.replace(config.process, **{name: getattr(Process, name)})
        same = schedule_of(dataclasses.replace(config, process=usual)).betas == betas
        if usual != config.process and same.all():
            schedule = config.process.schedule
            lines.append(f"remark: the schedule {schedule} does not use process.{name}")
    return lines


def pace_remarks(train: Train) -> list[str]:
    """A warm-up or an average that is too slow for the steps of a run.

    Example:
      >>> pace_remarks(Train())
      []
    """
    lines, steps = [], train.steps
    if train.warmup_steps > steps / 3:
        lines.append(
            f"remark: the learning rate rises for {train.warmup_steps} of the {steps} "
            f"steps; --train.warmup-steps {steps // 20} would suit so few"
        )
    held, whose = initial_share(train, steps)
    if held > MOST_UNTRAINED:
        # exp(-5) = 0.7 % is left then.
        decay = max(0.0, 1 - 5 / steps)
        lines.append(
            f"remark: at the end {held:.1%} of the EMA, which samples are drawn from, "
            f"is still {whose}; --train.ema-decay {decay:.4g} would suit {steps} steps"
        )
    return lines


def with_shape(config: Config, dataset: Dataset) -> Config:
    """The config with the size and channels that the images turned out to have."""
    _, height, width, channels = dataset.train.shape
    fields = dataclasses.asdict(config)
    fields["data"] |= {"image_size": (height, width), "channels": channels}
    return from_dict(fields)


def with_labels(config: Config, dataset: Dataset) -> Dataset:
    """The data set with labels just where the network is to be told of them.

    Raises:
      ValueError: if the images have no labels, or are of another number of classes.
    """
    wanted, classes = config.model.num_classes, dataset.report.classes
    if wanted is None:
        return dataset._replace(train_labels=None, held_out_labels=None)
    if not classes:
        raise ValueError(
            f"model.num_classes is {wanted} and {config.data.source} has no labels: "
            "each image file must lie in a subfolder, of which there are at least two; "
            "an .npz has them as arr_1, whole numbers [N] from 0 on; a TFDS set as "
            "label; mend that, or leave out model.num_classes"
        )
    if len(classes) != wanted:
        raise ValueError(
            f"model.num_classes is {wanted} and {config.data.source} has "
            f"{len(classes)} classes; set it to {len(classes)}"
        )
    return dataset


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
    together = config.train.steps_per_dispatch
    feed = batches(
        dataset.train,
        dataset.train_labels,
        seed=config.train.seed,
        start_step=first,
        batch_size=config.train.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )

    def due(done: int, every: int | None) -> bool:
        return every is not None and (done % every == 0 or done == steps)

    meter = Meter(config.train.batch_size, first, steps, together, active=logs.active)
    with stop_signals() as stop, meter:
        for done in range(first + together, steps + 1, together):
            batch = next_batches(feed, together)
            state, metrics = run.step(state, batch, run.keys.train)
            meter.add(metrics)
            evaluates, samples = due(done, log.eval_every), due(done, log.sample_every)
            measures, saves = (
                due(done, every) for every in (log.metric_every, log.checkpoint_every)
            )
            others = evaluates or samples or measures or saves
            # Several processes, to stop as one, heed signals only where all of them
            # wait for the devices in any case; one does after each step.
            heeded = stop.is_set() and jax.process_count() == 1
            if not (due(done, log.every) or others or heeded):
                continue
            scalars = meter.read()
            check_finite(scalars.pop("bad_step"), checkpoints.latest_step())
            if evaluates:
                scalars |= evaluate(state, run)
            if measures and run.measure is not None:
                scalars |= run.measure(state.ema_params, stop)
            logs.scalars(done, scalars)
            meter.show(scalars)
            scores = {k: x for k, x in scalars.items() if k == run.score}
            keep = partial(save, config=dataclasses.asdict(config), scores=scores)
            # Before the grid, which takes long: what was to be saved is not lost in it.
            if saves or processes.any_process(stop.is_set()):
                keep(checkpoints, state)
            if samples:
                count, chain = log.sample_images, config.process.num_timesteps
                meter.say(f"drawing {count} samples in {chain} steps ...")
                shared = state.ema_params, run.keys.sample
                drawn = run.sample(shared, np.arange(count))
                logs.images(done, drawn, class_columns(config.model.num_classes or 0))
            if processes.any_process(stop.is_set()):
                keep(checkpoints, state)  # does nothing where it is kept already
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
