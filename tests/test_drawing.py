"""Many samples: the same images, however the work is cut, stopped and shared."""

from pathlib import Path

import numpy as np
import pytest

from ddpm_jax import drawing
from ddpm_jax import sample_files
from ddpm_jax.chains import Chain
from ddpm_jax.drawing import identity
from ddpm_jax.drawing import write_parts
from ddpm_jax.drawing import write_samples
from ddpm_jax.loading import Trained
from ddpm_jax.loading import load_trained
from ddpm_jax.processes import process_slice

PAPERS = Chain()


@pytest.fixture(scope="module")
def model(trained: Path) -> Trained:
    return load_trained(trained)


def images(out: Path) -> np.ndarray:
    with np.load(out / "samples.npz", allow_pickle=False) as stored:
        return stored["arr_0"]


def close(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether at least 99.9 % of the values are within 1."""
    return bool((abs(one.astype(int) - other.astype(int)) <= 1).mean() >= 0.999)


@pytest.fixture(scope="module")
def whole(model: Trained, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    out = tmp_path_factory.mktemp("whole")
    write_samples(out, model, PAPERS, start=0, num=11, seed=3, batch_size=11)
    return images(out)


def test_a_draw_goes_on_after_a_kill_without_drawing_an_image_twice(
    model: Trained,
    whole: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[int] = []

    def add(out: Path, start: int, images: np.ndarray) -> None:
        if len(drawn) == 8:
            raise KeyboardInterrupt
        keep(out, start, images)
        drawn.extend(range(start, start + len(images)))

    keep = sample_files.add
    monkeypatch.setattr(sample_files, "add", add)
    with pytest.raises(KeyboardInterrupt):
        write_samples(tmp_path, model, PAPERS, start=0, num=11, seed=3, batch_size=4)
    assert drawn == list(range(8)) and not (tmp_path / "samples.npz").exists()
    drawn.append(-1)
    write_samples(tmp_path, model, PAPERS, start=0, num=11, seed=3, batch_size=2)
    assert drawn[9:] == [8, 9, 10]
    assert close(images(tmp_path), whole)


@pytest.mark.slow
def test_machines_that_share_a_draw_make_the_same_images(
    model: Trained, whole: np.ndarray, tmp_path: Path
) -> None:
    write_samples(tmp_path / "a", model, PAPERS, start=0, num=6, seed=3, batch_size=4)
    write_samples(tmp_path / "b", model, PAPERS, start=6, num=5, seed=3, batch_size=3)
    both = np.concatenate([images(tmp_path / "a"), images(tmp_path / "b")])
    assert close(both, whole)


@pytest.mark.slow
def test_processes_that_share_a_draw_leave_no_gap(
    model: Trained, whole: np.ndarray, tmp_path: Path
) -> None:
    sample_files.begin(tmp_path, identity(model, PAPERS, 3), 0, 11)
    batches = sample_files.missing_batches(tmp_path, 0, 11, 2)
    for index in range(3):
        own = process_slice(len(batches), process_index=index, process_count=3)
        write_parts(tmp_path, model, PAPERS, batches[own], num=11, seed=3)
    assert sample_files.gaps(tmp_path, 0, 11) == []
    write_samples(tmp_path, model, PAPERS, start=0, num=11, seed=3, batch_size=2)
    assert close(images(tmp_path), whole)


def test_images_that_are_there_are_not_drawn_again(
    model: Trained,
    whole: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_samples(tmp_path, model, PAPERS, start=0, num=3, seed=3, batch_size=4)
    monkeypatch.setattr(drawing, "compile_sampler", None)
    write_samples(tmp_path, model, PAPERS, start=0, num=3, seed=3, batch_size=4)
    assert "holds these images already" in capsys.readouterr().out


@pytest.mark.parametrize("change", [{"seed": 4}, {"ema": False}, {"step": 5}])
def test_the_identity_of_a_draw_tells_seeds_and_weights_apart(
    model: Trained, change: dict
) -> None:
    seed = change.pop("seed", 3)
    assert identity(model._replace(**change), PAPERS, seed) != identity(
        model, PAPERS, 3
    )
    assert identity(model, PAPERS, 3) == identity(model, PAPERS, 3)


def test_the_identity_of_a_draw_tells_chains_apart(model: Trained) -> None:
    other = identity(model, Chain("ddim", 5), 3)
    assert other != identity(model, PAPERS, 3)
