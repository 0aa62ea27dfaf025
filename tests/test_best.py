"""The checkpoint with the lowest score: which it is, and that it stays."""

import math
from pathlib import Path

import jax
import numpy as np
import pytest
from test_checkpoint import empty_record

from ddpm_jax import checkpoint
from ddpm_jax.best import Scores
from ddpm_jax.best import best_step

NAME = "frechet_distance_pixels8_1k"


def save_scores(
    workdir: Path, scores: dict[int, Scores], *, best: str | None = NAME
) -> None:
    """Saves a checkpoint for each step, of which the newest and the best are kept."""
    with checkpoint.open_checkpoints(workdir, keep=1, best=best) as checkpoints:
        for step, found in scores.items():
            weights = {"w": np.full(2, step, np.float32)}
            state = {"step": np.int32(step), "params": weights, "ema_params": weights}
            assert checkpoint.save(checkpoints, state, {}, found)


def on_disk(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def of(*scores: float) -> dict[int, Scores]:
    """The scores of steps 10, 20, ..."""
    return {10 * (i + 1): {NAME: score} for i, score in enumerate(scores)}


def test_the_lowest_score_is_the_best_and_of_equal_ones_the_newest() -> None:
    assert best_step(of(3, 1, 2)) == 20
    assert best_step(of(3, 1, 1, 2)) == 30
    assert best_step({}) is None
    assert best_step({10: {}, 20: {}}) is None


def test_scores_of_another_name_and_those_that_are_not_finite_do_not_count() -> None:
    scores = {**of(math.nan, 5, math.inf), 40: {"loss": 1.0}, 50: {}}
    assert best_step(scores, NAME) == 20
    assert best_step(scores) == 40  # a run that goes on with another score
    assert best_step(scores, "fid") is None
    assert best_step(of(math.nan), NAME) is None


def test_the_best_stays_beside_the_newest_as_long_as_none_is_better(
    tmp_path: Path,
) -> None:
    save_scores(tmp_path, of(3, 1, 2, 5))
    assert on_disk(tmp_path) == [20, 40]
    save_scores(tmp_path, {50: {NAME: 4.0}, 60: {}})
    assert on_disk(tmp_path) == [20, 60]
    save_scores(tmp_path, {70: {NAME: 0.5}})
    assert on_disk(tmp_path) == [70]


def test_without_a_score_to_go_by_only_the_newest_stays(tmp_path: Path) -> None:
    save_scores(tmp_path, of(1, 2, 3), best=None)
    assert on_disk(tmp_path) == [30]
    save_scores(tmp_path, {40: {NAME: 9.0}, 50: {}}, best="fid")
    assert on_disk(tmp_path) == [50]


def test_the_weights_of_the_best_are_read(tmp_path: Path) -> None:
    save_scores(tmp_path, of(3, 1, 2))
    weights, step, _ = checkpoint.restore_weights(tmp_path, step="best")
    assert (step, weights["w"].tolist()) == (20, [20, 20])
    assert checkpoint.restore_weights(tmp_path)[1] == 30


def test_where_nothing_was_scored_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        checkpoint.restore_weights(tmp_path, step="best")
    save_scores(tmp_path, {10: {}})
    with pytest.raises(ValueError, match=r"a score.*--log.keep-best.* steps \[10\]"):
        checkpoint.restore_weights(tmp_path, step="best")


def test_a_damaged_best_is_passed_over_and_the_run_goes_on(tmp_path: Path) -> None:
    save_scores(tmp_path, of(1, 2))
    empty_record(tmp_path / "checkpoints" / "10")
    with pytest.warns(UserWarning, match="step 10 in .* is damaged"):
        assert checkpoint.restore_weights(tmp_path, step="best")[1] == 20
    with pytest.warns(UserWarning, match="step 10 in .* is damaged"):
        save_scores(tmp_path, {30: {NAME: 3.0}})
    assert on_disk(tmp_path) == [20, 30]


def test_a_checkpoint_from_before_there_were_scores_has_none(tmp_path: Path) -> None:
    # As older versions wrote them: a record without the field.
    save_scores(tmp_path, {10: {}})
    [record] = (tmp_path / "checkpoints" / "10" / "record").glob("metadata*")
    record.write_text(record.read_text().replace(', "scores": {}', ""))
    assert "scores" not in record.read_text()
    save_scores(tmp_path, {20: {NAME: 1.0}, 30: {NAME: 2.0}})
    assert on_disk(tmp_path) == [20, 30]
    assert jax.tree.leaves(checkpoint.restore_weights(tmp_path)[0])[0].tolist() == [
        30,
        30,
    ]
