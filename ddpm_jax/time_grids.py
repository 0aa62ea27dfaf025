"""At which t a short chain asks the model, and how noisy an image is there.

A `TimeGrid` is S + 1 falling times t_0 > ... > t_S of a schedule. A chain starts at
t_0, asks the model at the first S, and ends at the last. t = 0..T-1 are the steps of
the schedule; between them log alpha_bar is interpolated on straight lines, as Lu et
al. (2022) do for a model of discrete steps; t = -1 is x_0 itself, where alpha_bar = 1.
In the letters of the solvers' papers, x_t = alpha x_0 + sigma eps, and lambda =
log(alpha / sigma) is half the logarithm of the signal-to-noise ratio.

A grid is plain numbers, compared by value, and so a static argument under `jax.jit`:
the S rows of a solver's coefficients are then computed once, in float64 NumPy, while
JAX traces, and what does not fit is known before anything is compiled. As traced
float32 tables they would lose digits where small steps cancel (phi_3 of UniPC is a
difference of third order), and a new S compiles anew in any case.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Self

import jax
import numpy as np

from ddpm_jax.schedules import Schedule
from ddpm_jax.spacings import SPACINGS
from ddpm_jax.spacings import half_log_snr
from ddpm_jax.spacings import log_alpha_bar_at


@dataclasses.dataclass(frozen=True)
class TimeGrid:
    """S + 1 falling times of a schedule; hashable, and so static under `jax.jit`.

    The properties are NumPy arrays [S + 1], one entry for each time.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> grid = make_time_grid(make_schedule(linear_beta_schedule(1000)), 4)
      >>> grid.num_steps, grid.times, grid.alpha.round(2).tolist()
      (4, (999, 666, 333, 0, -1), [0.01, 0.1, 0.56, 1.0, 1.0])
    """

    times: tuple[float, ...]  # all int, or all float
    log_alphas_cumprod: tuple[float, ...] = dataclasses.field(repr=False)  # [T]

    @property
    def num_steps(self) -> int:
        """S."""
        return len(self.times) - 1

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.log_alphas_cumprod)

    @property
    def whole(self) -> bool:
        """Whether the model is asked at whole t only, and so is given int32."""
        return isinstance(self.times[0], int)

    @property
    def single_steps(self) -> bool:
        """Whether each step is one of the schedule's, from t to t - 1."""
        return self.whole and bool((np.diff(self.times) == -1).all())

    @property
    def t(self) -> np.ndarray:
        """The times as the model is given them: int32, or float."""
        return np.array(self.times, np.int32 if self.whole else np.float64)

    @functools.cached_property
    def log_alpha_bar(self) -> np.ndarray:
        """The logarithm of alpha_bar."""
        return log_alpha_bar_at(np.array(self.log_alphas_cumprod), np.array(self.times))

    @property
    def alpha(self) -> np.ndarray:
        """sqrt(alpha_bar), the share of x_0."""
        signal: np.ndarray = np.exp(0.5 * self.log_alpha_bar)
        return signal

    @property
    def sigma(self) -> np.ndarray:
        """sqrt(1 - alpha_bar), the share of the noise."""
        noise: np.ndarray = np.sqrt(-np.expm1(self.log_alpha_bar))
        return noise

    @property
    def half_log_snr(self) -> np.ndarray:
        """lambda = log(alpha / sigma); infinite without noise, or without signal."""
        return half_log_snr(self.log_alpha_bar)

    def first(self, num_steps: int) -> Self:
        """The grid of its first steps alone."""
        return dataclasses.replace(self, times=self.times[: num_steps + 1])

    def last(self, num_steps: int) -> Self:
        """The grid of its last steps alone.

        Example:
          >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
          >>> make_time_grid(make_schedule(linear_beta_schedule(10)), 10).last(2).times
          (1, 0, -1)
        """
        return dataclasses.replace(self, times=self.times[-1 - num_steps :])

    @property
    def noise_numbers(self) -> np.ndarray:
        """The number of each step in the keys of its noise, uint32 [S].

        A function of t alone, so that parts of a chain draw what the whole would: t on
        whole grids, as in `ddpm_sample`, which draws x_T as number T; on others T + 1
        and t in units of 2^-16, or, that all stay below 2^30, of more where T is large.
        """
        times = np.array(self.times[:-1])
        unit = min(16, 29 - self.num_timesteps.bit_length())
        between = self.num_timesteps + 1 + np.floor(times * 2**unit)
        return (times if self.whole else between).astype(np.uint32)


def make_time_grid(
    schedule: Schedule, num_steps: int, spacing: str = "uniform", *, whole: bool = True
) -> TimeGrid:
    """The grid of a chain of S steps, from all noise to x_0.

    With whole, times are rounded to S different whole t, those that the model was
    trained on; otherwise they stay where the spacing puts them.

    Raises:
      ValueError: unless 1 <= num_steps <= T, and the spacing is known and fits the
        schedule.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> make_time_grid(schedule, 4).times
      (999, 666, 333, 0, -1)
      >>> make_time_grid(schedule, 4, "log_snr", whole=False).num_steps
      4
    """
    table = _log_alpha_bar(schedule)
    if isinstance(num_steps, bool) or not isinstance(num_steps, int):
        raise ValueError(f"num_steps is {num_steps!r}; give a whole number")
    if not 1 <= num_steps <= table.size:
        raise ValueError(f"num_steps is {num_steps}; give 1..{table.size}, which is T")
    if spacing not in SPACINGS:
        raise ValueError(
            f"spacing is {spacing!r}; it must be one of {', '.join(SPACINGS)}"
        )
    if schedule.ends_in_noise and spacing == "log_snr":
        raise ValueError(
            "spacing 'log_snr' divides the signal-to-noise ratio, which is 0 where "
            "this schedule ends; use uniform, quadratic, trailing or karras"
        )
    times = SPACINGS[spacing](table, num_steps)
    chosen = _different(times) if whole else times
    return TimeGrid((*chosen.tolist(), -1 if whole else -1.0), tuple(table.tolist()))


def time_grid_at(schedule: Schedule, times: Sequence[float]) -> TimeGrid:
    """A grid of chosen times t_0 > ... > t_S: any part of a chain, any subset of steps.

    The last is where the chain ends, -1 for x_0. If all are int, the model is given
    int32, else float.

    Raises:
      ValueError: unless there are 2..T+1 falling numbers in -1..T-1.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> time_grid_at(schedule, (500, 100, 7)).sigma.round(3)
      array([0.96 , 0.324, 0.037])
    """
    table, array = _log_alpha_bar(schedule), np.array(times)
    number = array.ndim == 1 and array.dtype.kind in "iuf"
    if not number or not 2 <= array.size <= table.size + 1:
        raise ValueError(
            f"times is {times!r}; give 2..{table.size + 1} numbers, the last for the "
            "end"
        )
    # The model knows t from 0 on; only the end may lie below, at x_0 or just above it.
    inside = array[0] <= table.size - 1 and array[-2] >= 0 and array[-1] >= -1
    if not inside or not (np.diff(array) < 0).all():
        raise ValueError(
            f"times is {times!r}; they must fall, in 0..{table.size - 1}, to an end of "
            "at least -1"
        )
    if np.isneginf(log_alpha_bar_at(table, array[1:])).any():
        raise ValueError(
            f"times is {times!r}; only the first may be where alpha_bar = 0"
        )
    return TimeGrid(tuple(array.tolist()), tuple(table.tolist()))


def _log_alpha_bar(schedule: Schedule) -> np.ndarray:
    """log alpha_bar [T] in float64, which a sum keeps where a product would round."""
    if isinstance(schedule.betas, jax.core.Tracer):
        raise ValueError("a time grid needs numbers; make it outside of jit, once")
    with np.errstate(divide="ignore"):  # beta = 1 ends jsd, where alpha_bar is 0
        table: np.ndarray = np.log1p(-np.asarray(schedule.betas, np.float64)).cumsum()
    return table


def _different(times: np.ndarray) -> np.ndarray:
    """Rounds falling times to different whole t, moved apart where they would meet.

    Halves go to the even t, as diffusers' do. The first stays, if there are enough t
    below it: beyond may be none that a spacing can take.
    """
    order = np.arange(times.size)
    rising = np.rint(times[::-1]).astype(int) - order
    apart = np.maximum.accumulate(np.maximum(rising, 0))
    return (np.minimum(apart, max(rising[-1], 0)) + order)[::-1]


def check_steps(num_steps: int, grid: TimeGrid) -> None:
    """Raises ValueError unless num_steps is a number of steps of a grid, or 0.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> check_steps(5, make_time_grid(make_schedule(linear_beta_schedule(10)), 5))
    """
    if isinstance(num_steps, bool) or not isinstance(num_steps, int):
        raise ValueError(f"num_steps is {num_steps!r}; give a whole number")
    if not 0 <= num_steps <= grid.num_steps:
        raise ValueError(
            f"num_steps is {num_steps}; give 0..{grid.num_steps}, the steps of the grid"
        )
