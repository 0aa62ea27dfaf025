"""Types of a data set: the split is a function of the seed, the report counts."""

import numpy as np
import pytest

from ddpm_jax.data.dataset import Skipped
from ddpm_jax.data.dataset import Subset
from ddpm_jax.data.dataset import describe
from ddpm_jax.data.dataset import make_report
from ddpm_jax.data.dataset import split_rows
from ddpm_jax.data.order import permutation


def numbered(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1)


@pytest.mark.parametrize(
    ("count", "held_out", "size"),
    [(100, 0.05, 5), (100, 7, 7), (3, 0.05, 1), (2, 0.9, 1), (5, 0, 0), (5, 0.0, 0)],
)
def test_split_parts_are_disjoint_and_cover_every_row(
    count: int, held_out: float | int, size: int
) -> None:
    train, rest = split_rows(count, held_out, seed=3)
    assert len(rest) == size
    assert sorted([*train.tolist(), *rest.tolist()]) == list(range(count))


def test_split_is_a_function_of_the_seed() -> None:
    first = split_rows(1000, 0.1, seed=1)[1].tolist()
    assert split_rows(1000, 0.1, seed=1)[1].tolist() == first
    assert split_rows(1000, 0.1, seed=2)[1].tolist() != first


def test_held_out_images_are_not_those_that_an_epoch_shows_first() -> None:
    for epoch in range(3):
        first = permutation(1, epoch, 1000)[:100]
        # Two independent choices of 100 of 1,000 share 10, standard deviation 2.9.
        assert np.intersect1d(split_rows(1000, 100, seed=1)[1], first).size < 30


def test_split_holds_out_every_row_equally_often() -> None:
    counts = np.zeros(10)
    for seed in range(600):
        counts[split_rows(10, 3, seed)[1]] += 1
    # Binomial(600, 0.3): mean 180, standard deviation 11.2; 4.5 of them.
    assert np.abs(counts - 180).max() < 50


@pytest.mark.parametrize("held_out", [5, 6, -1, 1.0, 1.5, -0.1, float("nan")])
def test_split_that_leaves_nothing_to_train_on_is_refused(
    held_out: float | int,
) -> None:
    with pytest.raises(ValueError, match="does not fit 5 images"):
        split_rows(5, held_out, seed=0)


def test_one_image_cannot_be_split_but_can_be_trained_on() -> None:
    with pytest.raises(ValueError, match="there is 1 image, and one must be held out"):
        split_rows(1, 1, seed=0)
    train, rest = split_rows(1, 0, seed=0)
    assert train.tolist() == [0]
    assert rest.tolist() == []


def test_seed_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"seed must be in 0\.\.2\*\*64-1, got -1"):
        split_rows(5, 1, seed=-1)


def test_subset_of_a_subset_shows_the_rows_of_both() -> None:
    outer = Subset(numbered(10), np.array([8, 6, 4, 2]))
    inner = Subset(outer, np.array([3, 0]))
    assert inner.shape == (2, 1, 1, 1)
    assert inner[np.array([1, 0, 1])].ravel().tolist() == [8, 2, 8]


def test_report_of_few_images_has_the_exact_range_and_size() -> None:
    train = np.full((3, 4, 5, 3), 7, np.uint8)
    train[1, 2, 3, 0] = 250
    report = make_report("mine", train, train[:2], {})
    assert (report.num_train, report.num_held_out) == (3, 2)
    assert (report.height, report.width, report.channels) == (4, 5, 3)
    assert (report.low, report.high, report.sampled) == (7, 250, 3)
    assert report.num_bytes == 5 * 4 * 5 * 3


def test_report_of_many_images_says_that_the_range_is_of_a_sample() -> None:
    report = make_report("mine", np.zeros((1000, 1, 1, 1), np.uint8), numbered(1), {})
    assert report.sampled == 256
    assert "in a sample of 256 training images" in describe(report)


def test_report_prints_every_reason_to_skip_with_a_few_names() -> None:
    skipped = {"empty file": Skipped(9, ("a", "b", "c")), "corrupt": Skipped(1, ("d",))}
    lines = str(make_report("mine", numbered(3), numbered(1), skipped)).splitlines()
    assert lines[-2:] == [
        "skipped 1 (corrupt): d",
        "skipped 9 (empty file): a, b, c, ...",
    ]
