"""A trained model, read: of a workdir, a file of weights or another project."""

import dataclasses
import zlib
from functools import partial
from pathlib import Path
from typing import Any
from typing import NamedTuple

import jax
import numpy as np
import optax

from ddpm_jax.best import Step
from ddpm_jax.build import Parts
from ddpm_jax.build import build
from ddpm_jax.build import init_params
from ddpm_jax.checkpoint import latest_step
from ddpm_jax.checkpoint import restore_weights
from ddpm_jax.command import TrainedOptions
from ddpm_jax.config import Config
from ddpm_jax.config import Train
from ddpm_jax.interop.hub import NOTES
from ddpm_jax.interop.hub import fetch
from ddpm_jax.labels import NO_CLASSES
from ddpm_jax.pretrained import PROGRAM
from ddpm_jax.pretrained import is_pretrained
from ddpm_jax.pretrained import read_pretrained
from ddpm_jax.pretrained import refusal
from ddpm_jax.samplers import SAMPLERS
from ddpm_jax.spacings import SPACINGS
from ddpm_jax.transfer import misfit
from ddpm_jax.validation import from_dict
from ddpm_jax.weights import SUFFIX
from ddpm_jax.weights import Stored
from ddpm_jax.weights import load_weights
from ddpm_jax.workdir import read_classes
from ddpm_jax.workdir import runs_near

MOST_UNTRAINED = 0.05
"""How much of an EMA may be the untrained network's, if it is to draw images."""


class Trained(NamedTuple):
    """A model as a checkpoint holds it."""

    config: Config
    parts: Parts
    params: optax.Params
    step: int
    ema: bool
    origin: str | None = None  # what it is if no run here trained it
    sampler: str = "ddpm"  # that its authors draw with
    spacing: str = "uniform"  # of the steps of a short chain, as its authors draw
    classes: tuple[str, ...] = ()  # names of the labels that the network knows
    given: str | None = None  # the path or id that it was asked for by, if no run's
    revision: str | None = None  # of an id on the hub


def load_model(options: TrainedOptions) -> Trained:
    """Reads the model that a script was given: of --workdir, or of --pretrained.

    Raises:
      FileNotFoundError, ModuleNotFoundError, ValueError: as load_pretrained.
    """
    workdir, pretrained = options.workdir, options.pretrained
    if workdir is not None and pretrained is not None:
        raise ValueError("give either --workdir or --pretrained, and not both")
    if pretrained is not None:
        return load_pretrained(pretrained, step=options.step, ema=options.ema)
    if workdir is None:
        raise ValueError(
            "give --workdir, the folder of a run, such as runs/digits, or --pretrained"
        )
    trained = load_trained(workdir, step=options.step, ema=options.ema)
    return trained._replace(given=str(workdir) if workdir.suffix == SUFFIX else None)


def load_pretrained(
    name: str, *, step: Step | None = None, ema: bool = True
) -> Trained:
    """Reads a model by its path, as `load_trained`, or by its id on Hugging Face's hub.

    An id is owner/name, or owner/name@revision.

    Raises:
      FileNotFoundError, ModuleNotFoundError, ValueError: as load_trained and hub.fetch.
    """
    path = fetch(name)
    run = (path / "checkpoints").is_dir() or path.suffix == SUFFIX
    if not run and not is_pretrained(path):
        raise ValueError(refusal(Path(name)))
    trained = load_trained(path, step=step, ema=ema)
    # The hub's cache has a folder for each commit; what is here keeps its own name.
    revision = path.name if path.is_dir() and not Path(name).exists() else None
    note = NOTES.get(name.partition("@")[0])
    origin = f"{trained.origin or name}; {note}" if note else trained.origin
    return trained._replace(origin=origin, given=name, revision=revision)


def load_trained(
    workdir: str | Path, *, step: Step | None = None, ema: bool = True
) -> Trained:
    """Reads the model of a workdir, a .safetensors file of weights, or another's.

    Of a workdir it is the newest checkpoint, or that of step, or the best; ema chooses
    the running average of the parameters, which the paper samples from. Of other
    projects it is what `pretrained.read_pretrained` reads.

    Raises:
      FileNotFoundError: if there is no such checkpoint; names those there are.
      ValueError: if the checkpoint is damaged.
    """
    if is_pretrained(Path(workdir)):
        if step is not None:
            raise ValueError(f"{workdir} is no run; there is no other step to take")
        model = read_pretrained(Path(workdir), ema=ema)
        parts = build(model.config)
        check_weights(parts, model.params, workdir)
        return Trained(
            model.config,
            parts,
            model.params,
            step=0,
            ema=ema,
            origin=model.origin,
            sampler=model.sampler,
            spacing=model.spacing,
        )
    if (Path(workdir) / PROGRAM).is_file():
        raise ValueError(refusal(Path(workdir)))
    if Path(workdir).suffix == SUFFIX:
        return load_file(Path(workdir), step=step, ema=ema)
    if not Path(workdir).is_dir():
        there = "is a file" if Path(workdir).exists() else "does not exist"
        raise FileNotFoundError(
            f"{workdir} {there}; give the folder of a run, or a {SUFFIX} file"
        )
    if step is None and latest_step(workdir) is None:
        raise FileNotFoundError(
            f"there is no checkpoint in {workdir}, so that nothing is trained there; "
            f"{runs_near(Path(workdir))}"
        )
    params, found, stored = restore_weights(workdir, step=step, ema=ema)
    config = from_dict(stored)
    parts = build(config)
    check_weights(parts, params, workdir)
    classes = read_classes(Path(workdir)) if config.model.num_classes else ()
    return Trained(config, parts, params, found, ema, classes=classes)


def load_file(path: Path, *, step: Step | None, ema: bool) -> Trained:
    """Reads a .safetensors file of weights, which says what they are.

    Raises:
      FileNotFoundError, ValueError: one sentence, if others are asked for, or the file
        is not there or damaged.
    """
    stored = load_weights(path)
    if step is not None or stored.ema > ema:
        which = "the EMA" if stored.ema else "the parameters"
        raise ValueError(f"{path} holds {which} of one step; no other can be had")
    for field, known in (("sampler", SAMPLERS), ("spacing", SPACINGS)):
        if (found := getattr(stored, field)) not in known:
            raise ValueError(
                f"{field} is {found!r:.80} in {path}; this project has "
                f"{', '.join(known)}"
            )
    config = config_in(path, stored)
    parts = build(config)
    check_weights(parts, stored.params, path)
    own = stored.sampler, stored.spacing, stored.classes
    what = stored.ema, stored.origin, *own
    return Trained(config, parts, stored.params, stored.step, *what)


def config_in(path: Path, stored: Stored) -> Config:
    """The config of a file of weights, of no more layers than it has tensors.

    Raises:
      ValueError: if it is none, or so large that building it would never end.
    """
    try:
        config = from_dict(stored.config)
    except ValueError as error:
        raise ValueError(
            f"the config in {path} is no config here: {error}; give another file"
        ) from None
    blocks = len(config.model.ch_mult) * config.model.num_res_blocks
    tensors = len(jax.tree.leaves(stored.params))
    if blocks > tensors:
        raise ValueError(
            f"the config in {path} is of {blocks} blocks, and the file has {tensors} "
            "tensors; get it again, or give another"
        )
    return config


def check_weights(parts: Parts, params: optax.Params, workdir: str | Path) -> None:
    """Raises ValueError unless the weights are the network's, and finite."""
    wanted = jax.eval_shape(partial(init_params, parts), jax.random.key(0))
    if found := misfit(params, wanted):
        tensor, got, want = found
        raise ValueError(
            f"{tensor} is {got} in {workdir} and {want} in the network of its config, "
            "so it does not hold one whole model; get it again, or give another"
        )
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
        raise ValueError(
            f"{workdir} holds weights that are not finite numbers; take an earlier "
            "step, or another model"
        )


def check_has_classes(trained: Trained, label: tuple[str, ...]) -> None:
    """Raises ValueError for labels, numbers or names, of a model without classes."""
    if label and trained.parts.model.num_classes is None:
        raise ValueError(NO_CLASSES)


def describe(trained: Trained) -> str:
    """One line on which weights these are."""
    if trained.origin is not None:
        return f"weights: {trained.origin}"
    if not trained.ema:
        return f"weights: parameters of step {trained.step}, not averaged"
    train = trained.config.train
    held, whose = initial_share(train, trained.step)
    line = f"weights: EMA ({train.ema_decay:g}) of step {trained.step}, {held:.1%} of "
    line += f"it still {whose}"
    if train.init_from is None and held > MOST_UNTRAINED:
        line += "; expect noise, or try --no-ema"
    return line


def initial_share(train: Train, step: int) -> tuple[float, str]:
    """The share of an EMA that is still what it began as, decay ** step, and whose.

    Example:
      >>> initial_share(Train(ema_decay=0.5), 2)
      (0.25, "the untrained network's")
    """
    whose = "the untrained network's"
    if train.init_from is not None:
        whose = f"what it was initialised from, {train.init_from}"
    return train.ema_decay**step, whose


def weights_identity(trained: Trained) -> dict[str, Any]:
    """What tells a model from another, in what is computed from it."""
    leaves = map(np.asarray, jax.tree.leaves(trained.params))
    sums = [zlib.crc32(leaf.tobytes()) for leaf in leaves]
    config = dataclasses.asdict(trained.config)
    return {
        "step": trained.step,
        "ema": trained.ema,
        "crc32 of the weights": zlib.crc32(np.array(sums, np.uint32).tobytes()),
        "process": config["process"],
        "objective": config["objective"],
    }
