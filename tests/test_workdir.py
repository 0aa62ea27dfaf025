"""A folder belongs to one config."""

import dataclasses
import os
from pathlib import Path

import pytest

from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Train
from ddpm_jax.config import to_json
from ddpm_jax.workdir import CONFIG
from ddpm_jax.workdir import claim_workdir
from ddpm_jax.workdir import read_config

ONE = Config(data=Data(image_size=(8, 8), channels=1))
OTHER = dataclasses.replace(ONE, train=Train(steps=5, seed=2))


def test_what_was_stored_is_read_back(tmp_path: Path) -> None:
    claim_workdir(tmp_path / "runs" / "new", OTHER, allow_config_change=False)
    assert read_config(tmp_path / "runs" / "new") == OTHER
    assert os.listdir(tmp_path / "runs" / "new") == [CONFIG]


def test_the_same_config_may_go_on(tmp_path: Path) -> None:
    claim_workdir(tmp_path, ONE, allow_config_change=False)
    claim_workdir(tmp_path, ONE, allow_config_change=False)
    assert read_config(tmp_path) == ONE


def test_another_config_is_refused_with_the_fields_that_differ(tmp_path: Path) -> None:
    claim_workdir(tmp_path, ONE, allow_config_change=False)
    with pytest.raises(ValueError, match="holds a run with another config") as refused:
        claim_workdir(tmp_path, OTHER, allow_config_change=False)
    sentence, *changed = str(refused.value).splitlines()
    assert str(tmp_path) in sentence and "--allow-config-change" in sentence
    assert [line.strip() for line in changed] == [
        "train.steps: 800000 -> 5",
        "train.seed: 0 -> 2",
    ]
    assert read_config(tmp_path) == ONE


def test_another_config_takes_the_folder_over_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    claim_workdir(tmp_path, ONE, allow_config_change=False)
    claim_workdir(tmp_path, OTHER, allow_config_change=True)
    assert read_config(tmp_path) == OTHER


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
    path = tmp_path / CONFIG
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"config\.json can't be read: ") as refused:
        read_config(tmp_path)
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=r"config\.json can't be read: "):
        claim_workdir(tmp_path, ONE, allow_config_change=False)
    assert path.read_bytes() == damaged
