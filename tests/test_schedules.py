"""The beta schedules and the tables that follow from them."""

import jax
import numpy as np
import pytest

from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.schedules import warmup_beta_schedule
from ddpm_jax.zero_snr import rescale_zero_snr

BOUNDS = (1e-4, 0.02)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_timesteps", [1, 2, 10, 1000])
def test_every_schedule_gives_legal_betas_at_every_length(
    name: str, num_timesteps: int
) -> None:
    betas = SCHEDULES[name](num_timesteps, *BOUNDS)
    assert betas.shape == (num_timesteps,) and betas.dtype == np.float64
    assert ((betas > 0) & (betas <= 1)).all()
    alpha_bar = np.asarray(make_schedule(betas).alphas_cumprod)
    assert (np.diff(alpha_bar) < 0).all() and (alpha_bar >= 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_tables_are_the_float64_values_to_float32_rounding(name: str) -> None:
    betas = SCHEDULES[name](1000, *BOUNDS)
    schedule = make_schedule(betas)
    exact = {
        "betas": betas,
        "alphas_cumprod": np.cumprod(1 - betas),
        "sqrt_alphas_cumprod": np.sqrt(np.cumprod(1 - betas)),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - np.cumprod(1 - betas)),
    }
    for field, table in exact.items():
        np.testing.assert_allclose(getattr(schedule, field), table, rtol=1e-7)


# Table of the paper's code, to the digits in which alpha_bar_T is known.
@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("linear", 4.035829765375676e-05),
        ("quad", 7.33e-4),
        ("const", 1.68e-9),
        ("warmup10", 4.61e-9),
        ("warmup50", 2.61e-7),
        ("jsd", 0.0),
    ],
)
def test_alpha_bar_ends_where_the_papers_does(name: str, last: float) -> None:
    alpha_bar = make_schedule(SCHEDULES[name](1000, *BOUNDS)).alphas_cumprod
    assert float(alpha_bar[-1]) == pytest.approx(last, rel=5e-3, abs=0)


def test_jsd_alpha_bar_falls_in_a_straight_line() -> None:
    alpha_bar = make_schedule(SCHEDULES["jsd"](100, *BOUNDS)).alphas_cumprod
    np.testing.assert_allclose(alpha_bar, 1 - np.arange(1, 101) / 100, atol=1e-7)


def test_cosine_alpha_bar_is_a_squared_cosine_until_the_cut() -> None:
    alpha_bar = make_schedule(SCHEDULES["cosine"](1000, *BOUNDS)).alphas_cumprod
    angle = (np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2
    exact = np.cos(angle) ** 2 / np.cos(angle[0]) ** 2
    np.testing.assert_allclose(alpha_bar[:-1], exact[1:-1], rtol=1e-5)


def test_sigmoid_alpha_bar_is_a_sigmoid_until_the_cut() -> None:
    alpha_bar = make_schedule(SCHEDULES["sigmoid"](1000, *BOUNDS)).alphas_cumprod
    fall = 0.5 * (1 - np.tanh((np.arange(1001) / 1000 - 0.5) * 3))
    exact = (fall - fall[-1]) / (fall[0] - fall[-1])
    np.testing.assert_allclose(alpha_bar[:-1], exact[1:-1], rtol=1e-5)
    # The curve is the same turned about its middle.
    np.testing.assert_allclose(alpha_bar[:-1] + alpha_bar[-2::-1], 1, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_timesteps", [2, 10, 1000])
def test_a_rescaled_schedule_ends_in_noise_and_keeps_its_start_and_shape(
    name: str, num_timesteps: int
) -> None:
    betas = SCHEDULES[name](num_timesteps, *BOUNDS)
    rescaled = rescale_zero_snr(betas)
    assert ((rescaled > 0) & (rescaled <= 1)).all() and rescaled[-1] == 1
    schedule = make_schedule(rescaled)
    assert schedule.ends_in_noise and float(schedule.alphas_cumprod[-1]) == 0
    before, after = (np.sqrt(np.cumprod(1 - b)) for b in (betas, rescaled))
    assert after[0] == before[0]
    # sqrt(alpha_bar) is a straight line of what it was.
    line = before[0] * (before - before[-1]) / (before[0] - before[-1])
    np.testing.assert_allclose(after, line, rtol=1e-9, atol=1e-12)


def test_what_ends_in_noise_is_rescaled_to_itself_and_one_step_is_refused() -> None:
    betas = SCHEDULES["jsd"](50, *BOUNDS)
    np.testing.assert_allclose(rescale_zero_snr(betas), betas, rtol=1e-12)
    with pytest.raises(ValueError, match="1 step can't be rescaled; give at least 2"):
        rescale_zero_snr(np.array([0.1]))


def test_warmup_rises_for_its_fraction_and_stays() -> None:
    betas = warmup_beta_schedule(1000, 1e-4, 0.02, 0.1)
    np.testing.assert_allclose(betas[:100], np.linspace(1e-4, 0.02, 100))
    assert (betas[100:] == 0.02).all()


@pytest.mark.parametrize("num_timesteps", [1, 5, 1000])
def test_log_variances_take_the_second_posterior_variance_for_the_first(
    num_timesteps: int,
) -> None:
    betas = linear_beta_schedule(num_timesteps)
    schedule = make_schedule(betas)
    large, small = schedule.log_variance_large, schedule.log_variance_small
    np.testing.assert_allclose(large[1:], np.log(betas[1:]), rtol=1e-6)
    assert float(large[0]) == float(small[0])
    assert float(schedule.posterior_variance[0]) == 0
    if num_timesteps == 1000:  # log of 5.4531876613e-05, the paper's clipped value
        assert float(small[0]) == pytest.approx(-9.8167, abs=5e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_make_schedule_may_stand_inside_jit(name: str) -> None:
    outside = make_schedule(SCHEDULES[name](7, *BOUNDS))
    inside = jax.jit(lambda: make_schedule(SCHEDULES[name](7, *BOUNDS)))()
    same = jax.tree.map(lambda one, other: bool((one == other).all()), outside, inside)
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize(
    ("betas", "sentence"),
    [
        ([0.1, 0.0], r"betas\[1\] is 0; every beta must have 0 < beta <= 1"),
        ([0.1, 1.5], r"betas\[1\] is 1\.5"),
        ([1e-20, 0.5], r"betas\[0\] is 1e-20; .* be at least 1e-15"),
        ([0.1, float("nan")], r"betas\[1\] is nan"),
        ([], r"betas has shape \(0,\)"),
        ([[0.1]], r"betas has shape \(1, 1\)"),
    ],
)
def test_bad_betas_are_refused(betas: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_schedule(betas)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_timesteps", [0, -3, 2.5, True])
def test_bad_lengths_are_refused(name: str, num_timesteps: int) -> None:
    with pytest.raises(ValueError, match="num_timesteps is"):
        SCHEDULES[name](num_timesteps, *BOUNDS)
