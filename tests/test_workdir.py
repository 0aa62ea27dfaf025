"""A folder belongs to one config and one set of images, once there is a checkpoint."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ddpm_jax.checkpoint import open_checkpoints
from ddpm_jax.checkpoint import save
from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Train
from ddpm_jax.config import to_json
from ddpm_jax.data import Dataset
from ddpm_jax.data import load
from ddpm_jax.weights import save_weights
from ddpm_jax.workdir import CONFIG
from ddpm_jax.workdir import check_config
from ddpm_jax.workdir import check_data
from ddpm_jax.workdir import read_config
from ddpm_jax.workdir import store

ONE = Config(data=Data(image_size=(8, 8), channels=1))
OTHER = dataclasses.replace(ONE, train=Train(steps=5, seed=2))
DIGITS = load("digits")


def begin(workdir: Path, config: Config = ONE) -> None:
    """Leaves a run with a checkpoint in workdir."""
    store(workdir, config, DIGITS)
    with open_checkpoints(workdir, keep=1) as checkpoints:
        save(checkpoints, {"step": np.int32(1)}, dataclasses.asdict(config))


def test_what_was_stored_is_read_back_from_the_folder_or_the_weights(
    tmp_path: Path,
) -> None:
    store(tmp_path / "runs" / "new", OTHER, DIGITS)
    assert read_config(tmp_path / "runs" / "new") == OTHER
    fields = dataclasses.asdict(OTHER)
    path = save_weights(tmp_path / "w", {"a": np.ones(1)}, step=1, config=fields)
    assert read_config(path) == OTHER


def test_the_same_config_and_images_may_go_on_sizes_left_open_or_not(
    tmp_path: Path,
) -> None:
    begin(tmp_path)
    check_data(tmp_path, DIGITS)
    check_config(tmp_path, ONE)
    check_config(tmp_path, dataclasses.replace(ONE, data=Data()))


def test_another_config_is_refused_with_the_fields_that_differ(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(ValueError, match="holds a run with another config") as refused:
        check_config(tmp_path, OTHER)
    sentence, *changed = str(refused.value).splitlines()
    assert str(tmp_path) in sentence and "--allow-config-change" in sentence
    assert [line.strip() for line in changed] == [
        "train.steps: 800000 -> 5",
        "train.seed: 0 -> 2",
    ]


@pytest.mark.parametrize(
    ("images", "changed"),
    [
        (DIGITS.train[np.arange(1000)], "training images: 1437 -> 1000"),
        (255 - DIGITS.train[np.arange(1437)], "crc32 of 64 training images"),
    ],
)
def test_other_images_are_refused(
    images: np.ndarray, changed: str, tmp_path: Path
) -> None:
    begin(tmp_path)
    other: Dataset = DIGITS._replace(train=images)
    with pytest.raises(ValueError, match="another set of images") as refused:
        check_data(tmp_path, other)
    assert changed in str(refused.value)


def test_a_run_that_saved_nothing_binds_nobody(tmp_path: Path) -> None:
    # It may have died for want of memory, and a smaller batch is what it needs.
    store(tmp_path, ONE, DIGITS)
    check_config(tmp_path, OTHER)
    check_data(tmp_path, DIGITS._replace(train=DIGITS.held_out))


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no run in .*nothing"):
        read_config(tmp_path / "nothing")


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        to_json(ONE).encode()[:-20],
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'{"train": {"steps": -1}}',
        b'{"train": {"stpes": 1}}',
    ],
)
def test_a_damaged_config_is_named_and_never_overwritten(
    damaged: bytes, tmp_path: Path
) -> None:
    begin(tmp_path)
    path = tmp_path / CONFIG
    path.write_bytes(damaged)
    for read in (read_config, lambda workdir: check_config(workdir, ONE)):
        with pytest.raises(ValueError, match=r"config\.json can't be read: ") as e:
            read(tmp_path)
        assert "\n" not in str(e.value)
    assert path.read_bytes() == damaged
