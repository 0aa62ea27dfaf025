"""Sums, errors and curves of the terms, against what they are by definition."""

from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from ddpm_jax.plots import plot_rate_distortion
from ddpm_jax.rate_distortion import TermMoments
from ddpm_jax.rate_distortion import merge_terms
from ddpm_jax.rate_distortion import moments_of
from ddpm_jax.rate_distortion import moments_of_terms
from ddpm_jax.rate_distortion import rate_distortion
from ddpm_jax.rate_distortion import rmse_of
from ddpm_jax.rate_distortion import summarise
from ddpm_jax.rate_distortion import term_table

RANDOM = np.random.default_rng(0)
IMAGES, T = 5, 4
PRIOR = RANDOM.uniform(size=IMAGES).astype(np.float32)
TERMS = RANDOM.uniform(size=(IMAGES, T)).astype(np.float32)
MSE = RANDOM.uniform(size=(IMAGES, T)).astype(np.float32)
NOISE = RANDOM.uniform(size=IMAGES).astype(np.float32)
MOMENTS = moments_of_terms(PRIOR, TERMS, MSE, NOISE)


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize("cuts", [(1,), (2, 3), (1, 2, 3, 4)])
def test_parts_of_the_images_are_summed_to_the_whole(cuts: tuple[int, ...]) -> None:
    arrays = (np.split(x, cuts) for x in (PRIOR, TERMS, MSE, NOISE))
    parts = [moments_of_terms(*part) for part in zip(*arrays, strict=True)]
    merged: TermMoments = reduce(merge_terms, parts)
    for got, whole in zip(merged, MOMENTS, strict=True):
        for field, exact in zip(got, whole, strict=True):
            np.testing.assert_allclose(field, exact, rtol=1e-12)


def test_total_rate_and_distortion_are_sums_of_the_terms() -> None:
    bound = summarise(MOMENTS)
    totals, rates = [], []
    for prior, terms in zip(PRIOR.astype(float), TERMS.astype(float), strict=True):
        totals.append(prior + sum(terms))
        rates.append(prior + sum(terms[1:]))
    for got, values in (
        (bound.total, totals),
        (bound.rate, rates),
        (bound.distortion, TERMS[:, 0].astype(float)),
        (bound.prior, PRIOR.astype(float)),
    ):
        np.testing.assert_allclose(got, mean_and_error(values), rtol=1e-12)
    assert bound.total.mean == pytest.approx(bound.rate.mean + bound.distortion.mean)


def test_the_errors_are_those_of_images_and_of_noise() -> None:
    images, draws, between, within = 20_000, 4, 0.3, 2.0
    noise = within * RANDOM.normal(size=(images, draws))
    terms = between * RANDOM.normal(size=(images, 1)) + noise
    mean, variance = terms.mean(axis=1), terms.var(axis=1, ddof=1) / draws
    zero, one = np.zeros(images), np.ones((images, 1))
    bound = summarise(moments_of_terms(zero, mean[:, None], one, variance))
    alone = within / np.sqrt(draws * images)
    assert bound.noise_error == pytest.approx(alone, rel=0.02)
    both = np.sqrt(between**2 + within**2 / draws) / np.sqrt(images)
    assert float(bound.total.error) == pytest.approx(both, rel=0.02)


def test_the_error_of_an_rmse_is_its_spread_over_repeated_sets() -> None:
    mse = RANDOM.gamma(2.0, 0.01, size=(2000, 100))  # 2000 sets of 100 images
    roots = 127.5 * np.sqrt(mse.mean(axis=1))
    errors = rmse_of(moments_of(mse.T)).error
    assert errors.mean() == pytest.approx(roots.std(), rel=0.05)


def test_of_one_image_or_one_draw_there_is_no_error() -> None:
    one = PRIOR[:1], TERMS[:1], MSE[:1], np.full(1, np.nan)
    bound = summarise(moments_of_terms(*one))
    assert np.isnan(bound.total.error) and np.isnan(bound.noise_error)
    assert bound.total.mean == pytest.approx(PRIOR[0] + TERMS[0].sum())


def test_the_table_has_a_row_for_each_term_and_its_sum_is_the_bound() -> None:
    table, bound = term_table(MOMENTS), summarise(MOMENTS)
    assert table["t"].tolist() == [0, 1, 2, 3, 4]
    assert table["bits_per_dim"].sum() == pytest.approx(bound.total.mean)
    assert table["bits_per_dim"][-1] == bound.prior.mean
    assert table["standard_error"][0] == pytest.approx(bound.distortion.error)
    assert table["rmse"][0] == pytest.approx(bound.rmse.mean)
    assert np.isnan(table["rmse"][-1])


def test_the_curve_is_what_has_been_sent_when_x_t_is_known() -> None:
    curve, bound = rate_distortion(MOMENTS), summarise(MOMENTS)
    # Table 4 counts reverse time from x_T: the paper's T - t + 1, with t from 1.
    assert curve["reverse_time"].tolist() == [1, 2, 3, 4]
    assert curve["t"].tolist() == [3, 2, 1, 0]
    for row, t in enumerate(curve["t"]):
        sent = [
            prior + terms[t + 1 :].sum()
            for prior, terms in zip(
                PRIOR.astype(float), TERMS.astype(float), strict=True
            )
        ]
        got = curve["rate_bits_per_dim"][row], curve["rate_standard_error"][row]
        np.testing.assert_allclose(got, mean_and_error(sent), rtol=1e-12)
        root = 127.5 * np.sqrt(MSE[:, t].astype(float).mean())
        assert curve["rmse"][row] == pytest.approx(root)
    assert curve["rate_bits_per_dim"][0] == pytest.approx(bound.prior.mean)
    assert curve["rate_bits_per_dim"][-1] == pytest.approx(bound.rate.mean)
    assert (np.diff(curve["rate_bits_per_dim"]) > 0).all()


def test_without_matplotlib_the_picture_is_left_out_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    curve = rate_distortion(MOMENTS)
    assert plot_rate_distortion(tmp_path / "a.png", curve) == []
    said = capsys.readouterr().out
    assert 'pip install "ddpm_jax[evaluate]"' in said and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
