"""Whole runs, in this process: what they leave behind, and going on from there."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny

from ddpm_jax import devices
from ddpm_jax.build import build
from ddpm_jax.checkpoint import latest_step
from ddpm_jax.checkpoint import open_checkpoints
from ddpm_jax.checkpoint import restore_weights
from ddpm_jax.checkpoint import save
from ddpm_jax.config import Config
from ddpm_jax.config import Process
from ddpm_jax.loading import load_trained
from ddpm_jax.run import start
from ddpm_jax.sampling import draw
from ddpm_jax.stopping import NonFiniteUpdateError
from ddpm_jax.train_loop import process_remarks
from ddpm_jax.train_loop import remarks
from ddpm_jax.train_loop import train
from ddpm_jax.validation import from_dict
from ddpm_jax.workdir import read_config


def lines(workdir: Path) -> list[dict[str, float]]:
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_leaves_what_was_asked_for(trained: Path) -> None:
    assert [line["step"] for line in lines(trained)] == [2, 3, 4, 6]
    assert {"loss", "grad_norm", "images_per_s"} <= set(lines(trained)[0])
    assert {"held_out_loss", "held_out_loss_ema"} <= set(lines(trained)[1])
    assert [p.name for p in (trained / "samples").iterdir()] == ["step_0000006.png"]
    assert list((trained / "tensorboard").iterdir())
    assert latest_step(trained) == 6


def test_the_config_with_the_images_shape_is_in_workdir_and_checkpoint(
    trained: Path,
) -> None:
    data = dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=1)
    expected = dataclasses.replace(tiny.CONFIG, data=data)
    assert read_config(trained) == expected
    assert from_dict(restore_weights(trained)[2]) == expected


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "digits"
    shutil.copytree(trained, workdir)
    shutil.rmtree(workdir / "checkpoints" / "6")
    train(tiny.CONFIG, workdir)
    said = capsys.readouterr().out
    assert "resuming from step 3" in said
    assert said.count("drawing 4 samples in 10 steps ...\n") == 1
    for ema in (True, False):
        resumed, whole = (restore_weights(w, ema=ema)[0] for w in (workdir, trained))
        jax.tree.map(np.testing.assert_array_equal, resumed, whole)
    assert [line["step"] for line in lines(workdir)] == [2, 3, 4, 6]
    for one, other in zip(lines(workdir), lines(trained), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.5)
        assert one.get("held_out_loss") == other.get("held_out_loss")


def test_a_grid_that_cannot_be_written_costs_no_checkpoint(
    trained: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "digits"
    shutil.copytree(trained, workdir)
    for folder in (workdir / "checkpoints" / "6", workdir / "samples"):
        shutil.rmtree(folder)
    (workdir / "samples").touch()  # a file, where the folder should be
    with pytest.raises(OSError, match="samples"):
        train(tiny.CONFIG, workdir)
    assert latest_step(workdir) == 6


def test_a_finished_run_has_nothing_left_to_do(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny.CONFIG, trained)
    assert "is trained to step 6 already" in capsys.readouterr().out


def test_another_config_is_refused_with_what_changed(trained: Path) -> None:
    other = tiny.with_train(learning_rate=0.5, steps=7)
    with pytest.raises(ValueError, match="holds a run with another config") as refused:
        train(other, trained)
    assert "train.learning_rate: 0.001 -> 0.5" in str(refused.value)
    assert "train.steps: 6 -> 7" in str(refused.value)
    wider = dataclasses.replace(
        tiny.CONFIG, model=dataclasses.replace(tiny.MODEL, ch=16)
    )
    with pytest.raises(ValueError, match="in the model: use the configuration"):
        train(wider, trained, allow_config_change=True)
    assert read_config(trained).model.ch == 8
    assert read_config(trained).train.steps == 6


@pytest.mark.slow
def test_a_run_goes_on_with_micro_batches_and_several_steps_a_dispatch(
    trained: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "digits"
    shutil.copytree(trained, workdir)
    shutil.rmtree(workdir / "checkpoints" / "6")
    log = dataclasses.replace(tiny.CONFIG.log, every=3)
    other = tiny.with_train(accumulate=2, steps_per_dispatch=3)
    with pytest.raises(ValueError, match="another config") as refused:
        train(dataclasses.replace(other, log=log), workdir)
    assert "accumulate" not in str(refused.value)
    train(dataclasses.replace(other, log=log), workdir, allow_config_change=True)
    last = [line for line in lines(workdir) if line["step"] == 6]
    assert last[-1]["held_out_loss"] == pytest.approx(
        lines(trained)[3]["held_out_loss"], rel=1e-4
    )


@pytest.mark.slow
def test_a_step_that_exceeds_the_memory_is_refused_before_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "memory_limit", lambda: 100_000)
    with pytest.raises(MemoryError, match="a step needs .* on each device, which has"):
        train(tiny.CONFIG, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".lock", "checkpoints"}


@pytest.mark.slow
def test_a_run_is_not_continued_from_the_middle_of_a_dispatch(
    trained: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "digits"
    shutil.copytree(trained, workdir)
    log = dataclasses.replace(
        tiny.CONFIG.log, every=4, eval_every=4, sample_every=4, checkpoint_every=4
    )
    config = dataclasses.replace(
        tiny.with_train(steps=8, steps_per_dispatch=4), log=log
    )
    with pytest.raises(ValueError, match="stands at step 6, which is not a multiple"):
        train(config, workdir, allow_config_change=True)
    assert read_config(workdir).train.steps == 6


@pytest.mark.slow
def test_a_bad_update_ends_the_run_and_the_last_good_checkpoint_stays(
    trained: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "digits"
    shutil.copytree(trained, workdir)
    shutil.rmtree(workdir / "checkpoints" / "6")
    # It stands at step 4, with parameters that nothing finite follows from.
    config = read_config(workdir)
    with open_checkpoints(workdir, keep=5) as checkpoints:
        state, _, _ = start(config, build(config), checkpoints)
        huge = jax.tree.map(lambda x: np.full_like(x, 1e30), state.params)
        save(checkpoints, state._replace(step=np.int32(4), params=huge), {})
    log = dataclasses.replace(config.log, every=6, checkpoint_every=1)
    with pytest.raises(NonFiniteUpdateError, match="the update of step 4 was not") as e:
        train(dataclasses.replace(config, log=log), workdir, allow_config_change=True)
    assert "the newest checkpoint, of step 4, is from before it" in str(e.value)
    assert latest_step(workdir) == 4


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match="batch_size 5 .* use 4 or 6"):
        train(tiny.with_train(batch_size=5), tmp_path / "digits")
    assert not (tmp_path / "digits").exists()


@pytest.mark.slow
def test_image_i_is_the_same_whatever_is_drawn_with_it(trained: Path) -> None:
    model = load_trained(trained)
    whole = np.concatenate(list(draw(model, num=9, seed=3, batch_size=9)))
    parts = np.concatenate(list(draw(model, num=7, seed=3, batch_size=2)))
    close = abs(whole[:7].astype(int) - parts.astype(int)) <= 1
    assert close.mean() >= 0.999
    other = np.concatenate(list(draw(model, num=9, seed=4, batch_size=9)))
    assert (whole != other).mean() > 0.5


def test_what_is_legal_and_hardly_meant_is_remarked_upon() -> None:
    process = dataclasses.replace(tiny.CONFIG.process, beta_end=0.02)
    model = dataclasses.replace(tiny.MODEL, attention_resolutions=(16, 8))
    data = dataclasses.replace(tiny.CONFIG.data, image_size=(8, 8), channels=1)
    odd = dataclasses.replace(tiny.CONFIG, process=process, model=model, data=data)
    first, second = remarks(odd, build(odd))
    assert "alpha_bar ends at 0.86" in first and "the height 16 that is to" in second
    plain = dataclasses.replace(tiny.CONFIG, data=data)
    assert remarks(plain, build(plain)) == []
    told = dataclasses.replace(plain, train=tiny.with_train(label_dropout=0.2).train)
    (said,) = remarks(told, build(told))
    assert "train.label_dropout is of labels, and the network is told none" in said


@pytest.mark.parametrize(
    ("schedule", "unused"),
    [("linear", ""), ("const", "start"), ("cosine", "start end"), ("jsd", "start end")],
)
def test_betas_that_a_schedule_does_not_use_are_remarked_upon(
    schedule: str, unused: str
) -> None:
    process = Process(schedule, beta_start=0.01, beta_end=0.5)
    said = process_remarks(Config(process=process))
    line = f"remark: the schedule {schedule} does not use process.beta_"
    assert said == [line + name for name in unused.split()]
