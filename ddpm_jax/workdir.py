"""The folder of a run: which config and which images it belongs to.

workdir/config.json holds the finished config, as every checkpoint does, and
workdir/data.json tells one set of images from another.
"""

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import jax

from ddpm_jax.checkpoint import latest_step
from ddpm_jax.config import Config
from ddpm_jax.config import differences
from ddpm_jax.config import to_json
from ddpm_jax.data import Dataset
from ddpm_jax.data import crc32_of_some
from ddpm_jax.files import replacing
from ddpm_jax.validation import from_dict
from ddpm_jax.validation import from_json
from ddpm_jax.weights import SUFFIX
from ddpm_jax.weights import load_weights

CONFIG, DATA = "config.json", "data.json"

HOW = (
    ("model", "attention"),
    ("model", "remat"),
    ("train", "accumulate"),
    ("train", "steps_per_dispatch"),
)
"""Fields that a run may change on the way: sections and names."""


class AnotherConfigError(ValueError):
    """A workdir holds a run of another config; going_on is what goes on with it."""

    def __init__(self, message: str, going_on: Config, stored: Config) -> None:
        """going_on has the steps, and how they are computed, that were asked for."""
        super().__init__(message)
        self.going_on = going_on
        self.changes_steps = going_on.train.steps != stored.train.steps


def read_config(workdir: Path) -> Config:
    """The config of the run in workdir, or of a .safetensors file of weights.

    Raises:
      FileNotFoundError, ValueError: one sentence, if there is none, or it is damaged.
    """
    if workdir.suffix == SUFFIX:
        return from_dict(load_weights(workdir).config)
    path = workdir / CONFIG
    if not path.exists():
        raise FileNotFoundError(f"there is no run in {workdir}; {runs_near(workdir)}")
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} can't be read: {error}") from None


def runs_near(workdir: Path) -> str:
    """What to give instead of a folder without a run: the end of a sentence."""
    folders = [*workdir.glob("*"), *Path("runs").glob("*")]
    runs = sorted({str(path) for path in folders if latest_step(path) is not None})
    if runs:
        return f"there is one in {', '.join(runs[:5])}"
    return (
        "give the --workdir of a training run, or train one: python train.py "
        "--config configs/digits.py takes minutes"
    )


def check_config(workdir: Path, config: Config) -> None:
    """Raises an error, with what differs, if workdir holds a run of another config.

    A run counts once it has a checkpoint. Sizes and channels that the config leaves
    to the images are not compared, nor what changes how a step is computed and not
    what it computes, nor a source that is not given again.

    Raises:
      AnotherConfigError: with the config that goes on with the run.
      ValueError: if the stored config is damaged.
    """
    step = latest_step(workdir)
    if step is None:
        return
    stored = read_config(workdir)
    fields = dataclasses.asdict(config)
    for name in ("image_size", "channels"):
        if fields["data"][name] is None:
            fields["data"][name] = getattr(stored.data, name)
    for section, name in HOW:
        fields[section][name] = getattr(getattr(stored, section), name)
    fields["train"]["init_from"] = config.train.init_from or stored.train.init_from
    changed = differences(stored, from_dict(fields))
    if changed:
        message = refusal(workdir, "config", changed)
        raise AnotherConfigError(message, continuation(stored, config, step), stored)


def continuation(stored: Config, given: Config, step: int) -> Config:
    """The stored config, computed as given, to as many steps if it is at fewer now.

    What given leaves to the images is left to them, and so is the source.
    """
    fields, asked = dataclasses.asdict(stored), dataclasses.asdict(given)
    own = [*HOW, ("train", "steps")] if given.train.steps > step else [*HOW]
    left = ("data", "image_size"), ("data", "channels"), ("train", "init_from")
    for section, name in (*own, *(x for x in left if asked[x[0]][x[1]] is None)):
        fields[section][name] = asked[section][name]
    # Not checked here: train.py will say what does not go together.
    sections = {name: type(getattr(stored, name))(**fields[name]) for name in fields}
    return Config(**sections)


def with_source(workdir: Path, config: Config) -> Config:
    """The config, naming what the run in workdir was initialised from.

    What a run began as is past: once it has a checkpoint, no config can change it.
    """
    if latest_step(workdir) is None or not (workdir / CONFIG).exists():
        return config
    source = read_config(workdir).train.init_from
    train = dataclasses.replace(config.train, init_from=source)
    return dataclasses.replace(config, train=train)


def check_data(workdir: Path, dataset: Dataset) -> None:
    """Raises ValueError, with what differs, if workdir's run saw other images."""
    path = workdir / DATA
    if latest_step(workdir) is None or not path.exists():
        return
    stored, given = json.loads(path.read_text()), identity(dataset)
    changed = [
        f"{name}: {stored.get(name)} -> {given[name]}"
        for name in given
        if stored.get(name) != given[name]
    ]
    if changed:
        raise ValueError(refusal(workdir, "set of images", changed))


def read_classes(workdir: Path) -> tuple[str, ...]:
    """The names of the classes of the images that workdir's run saw, if they are known.

    Those who only draw from a run need no names, so that a file which can't be read is
    none.
    """
    try:
        names = json.loads((workdir / DATA).read_text(encoding="utf-8"))["classes"]
    except (OSError, ValueError, KeyError, TypeError):
        return ()
    known = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if known else ()


def refusal(workdir: Path, what: str, changed: list[str]) -> str:
    """What is said to one who goes on with a run after a change."""
    return (
        f"{workdir} holds a run with another {what}; use another --workdir, or "
        "--allow-config-change to go on with this one. What changed:\n  "
        + "\n  ".join(changed)
    )


def identity(dataset: Dataset) -> dict[str, Any]:
    """What tells a set of images from another: counts, and a sum over some of them."""
    count = len(dataset.train)
    labels, found = dataset.train_labels, {}
    if labels is not None:
        classes = list(dataset.report.classes)
        found = {
            "crc32 of the labels": zlib.crc32(labels.tobytes()),
            "classes": classes,
        }
    return {
        "training images": count,
        "held-out images": len(dataset.held_out),
        "crc32 of 64 training images": crc32_of_some(dataset.train),
        **found,
    }


def store(workdir: Path, config: Config, dataset: Dataset) -> None:
    """Writes what the checks compare; the first process does it for all."""
    if jax.process_index() == 0:
        with replacing(workdir / CONFIG) as file:
            file.write(to_json(config).encode())
        with replacing(workdir / DATA) as file:
            file.write(json.dumps(identity(dataset), indent=2).encode())
