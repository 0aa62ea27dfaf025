"""What is wrong with a folder that is read, or can't be written: one sentence."""

from pathlib import Path

import numpy as np
import pytest
from diffusers_files import SCHEDULERS
from diffusers_files import described
from diffusers_files import load
from diffusers_files import write

from ddpm_jax.exporting import export_safetensors
from ddpm_jax.files import new_folder
from ddpm_jax.pretrained import is_pretrained
from ddpm_jax.pretrained import read_pretrained


@pytest.mark.slow
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, number: float
) -> None:
    unet, tensors = described("gray")
    tensors["conv_in.bias"][1] = number
    folder = write(tmp_path / "model", unet, tensors, SCHEDULERS["ddpm"])
    with pytest.raises(
        ValueError, match=r"^conv_in.bias in .* are not finite.*; get it"
    ):
        read_pretrained(folder)


def test_json_that_is_too_deep_is_none(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", *described("gray"), SCHEDULERS["ddpm"])
    (folder / "unet" / "config.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"config.json is not JSON: [^\n]*$"):
        read_pretrained(folder)


def test_a_network_without_its_scheduler_is_told_what_is_missing(
    tmp_path: Path,
) -> None:
    folder = write(tmp_path / "model", *described("gray"), SCHEDULERS["ddpm"]) / "unet"
    assert is_pretrained(folder)
    with pytest.raises(FileNotFoundError, match="no .*unet/scheduler_config.json"):
        read_pretrained(folder)
    (tmp_path / "config.json").write_text("{}")
    assert not is_pretrained(tmp_path)  # which could be a run


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    weights = load(tmp_path, "gray")
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "below"
    with pytest.raises(OSError, match=f"^{below} can't be made, as .*file is a file$"):
        with new_folder(below):
            pass
    below = below.with_suffix(".safetensors")
    with pytest.raises(OSError, match=f"^{below} can't be made, as .*file is a file$"):
        export_safetensors(weights, below)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model"]
