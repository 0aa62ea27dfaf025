"""At which t a chain asks the model, and how noisy an image is there."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from ddpm_jax.schedules import SCHEDULES
from ddpm_jax.schedules import Schedule
from ddpm_jax.schedules import linear_beta_schedule
from ddpm_jax.schedules import make_schedule
from ddpm_jax.spacings import SPACINGS
from ddpm_jax.time_grids import TimeGrid
from ddpm_jax.time_grids import make_time_grid
from ddpm_jax.time_grids import time_grid_at

SCHEDULE = make_schedule(linear_beta_schedule(1000))
SHORT = make_schedule(linear_beta_schedule(20, 1e-3, 0.4))
JSD = make_schedule(SCHEDULES["jsd"](20, 1e-4, 0.02))


def first(spacing: str, schedule: Schedule, num_steps: int) -> float:
    """T-1, but for leading, without the last part, and karras, from a ratio of 80."""
    last, part = schedule.num_timesteps - 1, schedule.num_timesteps // num_steps
    if spacing == "leading":
        return part * (num_steps - 1)
    if spacing == "karras" and schedule is SCHEDULE:
        return 929.618
    return last


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_grid_falls_from_T_minus_1_to_x_0_in_as_many_steps_as_asked(
    spacing: str,
) -> None:
    cases = [(SHORT, n) for n in range(1, 21)]
    for schedule, num_steps in [*cases, (SCHEDULE, 7), (SCHEDULE, 1000)]:
        for whole in (True, False):
            grid = make_time_grid(schedule, num_steps, spacing, whole=whole)
            assert grid.num_steps == num_steps
            assert (np.diff(grid.times) < 0).all()
            start = first(spacing, schedule, num_steps)
            if whole:  # rounded, and later if S different t need it
                start = max(round(start), num_steps - 1)
            assert grid.times[0] == pytest.approx(start)
            assert grid.times[-2] >= -1e-9
            assert grid.times[-1] == -1
            assert grid.whole == whole
        assert grid.num_timesteps == schedule.num_timesteps


@pytest.mark.parametrize("spacing", SPACINGS)
def test_all_steps_in_whole_t_are_every_t(spacing: str) -> None:
    assert make_time_grid(SHORT, 20, spacing).times == tuple(range(19, -2, -1))


def test_each_spacing_is_even_in_what_it_is_even_in() -> None:
    grids = {name: make_time_grid(SCHEDULE, 9, name, whole=False) for name in SPACINGS}
    times = {name: np.array(grid.times[:-1]) for name, grid in grids.items()}
    snr = {name: np.exp(2 * grid.half_log_snr[:-1]) for name, grid in grids.items()}
    even = {
        "uniform": times["uniform"],
        "quadratic": np.sqrt(times["quadratic"]),
        "trailing": np.append(times["trailing"], -1),
        "leading": times["leading"],
        "log_snr": np.log(snr["log_snr"]),
        "karras": snr["karras"] ** (-1 / 14),
    }
    assert even.keys() == SPACINGS.keys()
    for name, numbers in even.items():
        steps = np.diff(numbers)
        np.testing.assert_allclose(steps, steps[0], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", SCHEDULES)
def test_whole_t_have_the_schedules_own_noise(name: str) -> None:
    schedule = make_schedule(SCHEDULES[name](200, 1e-4, 0.1))
    grid = make_time_grid(schedule, 200)
    same = np.testing.assert_allclose
    # A beta of 0.999 in float32, which ends cosine, says 1 - beta to 1e-5 only.
    same(grid.alpha[:-1][::-1], schedule.sqrt_alphas_cumprod, rtol=1e-5)
    same(grid.sigma[:-1][::-1], schedule.sqrt_one_minus_alphas_cumprod, rtol=3e-6)
    assert (grid.alpha[-1], grid.sigma[-1]) == (1, 0)


def test_between_whole_t_log_alpha_bar_is_on_straight_lines() -> None:
    times = (998.25, 500.5, 0.75, 0.0, -0.5)
    grid = time_grid_at(SCHEDULE, times)
    expected = oracles.log_alpha_bar(SCHEDULE, np.array(times))
    np.testing.assert_allclose(np.log(grid.alpha), expected / 2, atol=1e-12)
    np.testing.assert_allclose(grid.alpha**2 + grid.sigma**2, 1, rtol=1e-12)
    ratio = np.log(grid.alpha / grid.sigma)
    np.testing.assert_allclose(grid.half_log_snr, ratio, rtol=1e-9)


def test_a_grid_is_a_static_argument_compared_by_value() -> None:
    traces = []

    def first(x: jax.Array, grid: TimeGrid) -> jax.Array:
        traces.append(grid.num_steps)
        return x * grid.alpha[0]

    compiled = jax.jit(first, static_argnames="grid")
    for num_steps in (5, 5, 6):
        compiled(jnp.ones(2), grid=make_time_grid(SHORT, num_steps))
    assert traces == [5, 6]


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "const"])
def test_karras_begins_at_their_largest_noise_or_the_schedules(name: str) -> None:
    schedule = make_schedule(SCHEDULES[name](1000, 1e-4, 0.02))
    for num_steps in (1, 5, 50):
        grid = make_time_grid(schedule, num_steps, "karras", whole=False)
        log_ab = oracles.log_alpha_bar(schedule, np.array([grid.times[0], 999]))
        start, most = np.sqrt(np.expm1(-log_ab))
        assert start == pytest.approx(min(80, most), rel=1e-4)


@pytest.mark.parametrize("num_timesteps", [20, 1000, 8000])
def test_karras_begins_before_pure_noise(num_timesteps: int) -> None:
    schedule = make_schedule(SCHEDULES["jsd"](num_timesteps, 1e-4, 0.02))
    largest = np.sqrt(num_timesteps - 1)  # sigma / alpha, as alpha_bar_{T-2} is 1 / T
    for num_steps in (1, 6, 12):
        whole = make_time_grid(schedule, num_steps, "karras")
        grid = make_time_grid(schedule, num_steps, "karras", whole=False)
        assert (np.diff(grid.times) < 0).all() and (np.diff(whole.times) < 0).all()
        start = grid.sigma[0] / grid.alpha[0]
        assert start == pytest.approx(min(80, largest), rel=1e-4)
        assert whole.times[0] == round(grid.times[0])
    alone = make_schedule(SCHEDULES["jsd"](1, 1e-4, 0.02))
    with pytest.raises(ValueError, match="needs a t with alpha_bar > 0"):
        make_time_grid(alone, 1, "karras")


def test_a_schedule_that_ends_in_noise_has_grids_by_t_and_none_by_log_snr() -> None:
    for spacing in ("uniform", "quadratic", "trailing"):
        for whole in (True, False):
            grid = make_time_grid(JSD, 6, spacing, whole=whole)
            assert grid.alpha[0] == 0
            assert (grid.alpha[1:] > 0).all()
    with pytest.raises(ValueError, match="which is 0 where this schedule ends"):
        make_time_grid(JSD, 6, "log_snr")
    with pytest.raises(ValueError, match="only the first may be where alpha_bar = 0"):
        time_grid_at(JSD, (19.0, 18.5, -1.0))


@pytest.mark.parametrize(
    ("num_steps", "spacing", "sentence"),
    [
        (0, "uniform", r"num_steps is 0; give 1\.\.20"),
        (-3, "uniform", r"num_steps is -3; give 1\.\.20"),
        (21, "uniform", r"num_steps is 21; give 1\.\.20, which is T"),
        (2.5, "uniform", r"num_steps is 2\.5; give a whole number"),
        (True, "uniform", r"num_steps is True; give a whole number"),
        (5, "cubic", "spacing is 'cubic'; it must be one of uniform, quadratic, tr"),
    ],
)
def test_steps_that_cannot_be_are_refused(
    num_steps: int, spacing: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_time_grid(SHORT, num_steps, spacing)


@pytest.mark.parametrize(
    ("times", "sentence"),
    [
        ((5,), r"give 2\.\.21 numbers, the last for the end"),
        (tuple(np.linspace(19, -1, 22)), r"give 2\.\.21 numbers"),
        (("a", "b"), r"give 2\.\.21 numbers"),
        ((5, 5, -1), r"they must fall, in 0\.\.19"),
        ((20, 3, -1), r"they must fall, in 0\.\.19"),
        ((5, -0.5, -1), r"they must fall, in 0\.\.19"),
        ((5, 3, -2), r"they must fall, in 0\.\.19, to an end of at least -1"),
        ((5.0, float("nan"), -1.0), r"they must fall"),
    ],
)
def test_times_that_cannot_be_are_refused(times: tuple, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        time_grid_at(SHORT, times)


def test_a_grid_cannot_be_made_of_a_traced_schedule() -> None:
    with pytest.raises(ValueError, match="make it outside of jit"):
        jax.jit(lambda s: jnp.asarray(make_time_grid(s, 5).alpha))(SHORT)
