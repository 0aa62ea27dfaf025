"""The Inception Score: its bounds, and the case with a closed form."""

import numpy as np
import pytest

from ddpm_jax.metrics.inception_score import inception_score

CLASSES = 5


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_it_lies_between_one_and_the_number_of_classes(scale: float) -> None:
    logits = scale * np.random.default_rng(0).normal(size=(200, CLASSES))
    mean, std = inception_score(logits, num_splits=4)
    assert 1 - 1e-12 <= mean <= CLASSES
    assert 0 <= std < CLASSES


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_certain_images_of_so_many_classes_have_that_score(classes: int) -> None:
    logits = 1e3 * np.eye(CLASSES)[np.arange(60) % classes]
    assert inception_score(logits, num_splits=1)[0] == pytest.approx(classes, rel=1e-12)


def test_images_that_look_alike_score_one() -> None:
    logits = np.tile(np.random.default_rng(0).normal(size=CLASSES), (30, 1))
    assert inception_score(logits) == pytest.approx((1, 0), abs=1e-12)


def test_two_classes_with_some_doubt_have_the_closed_form() -> None:
    # Half of the images say p, half 1 - p: log 2 less the entropy of (p, 1 - p).
    p = 0.8
    logits = np.log(np.array([[p, 1 - p], [1 - p, p]] * 20))
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    mean, _ = inception_score(logits, num_splits=1)
    assert mean == pytest.approx(np.exp(np.log(2) - entropy), rel=1e-12)


def test_parts_of_unequal_size_leave_no_image_out() -> None:
    logits = np.random.default_rng(0).normal(size=(11, CLASSES))
    score = inception_score(logits, num_splits=3)
    for image in range(11):
        other = logits.copy()
        other[image] *= -1
        assert inception_score(other, num_splits=3) != score, image


def test_more_parts_than_images_are_refused() -> None:
    with pytest.raises(ValueError, match="9 images cannot be divided into 10 parts"):
        inception_score(np.zeros((9, 3)))
