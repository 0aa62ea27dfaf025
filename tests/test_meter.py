"""What a person sees while a model trains are means over the steps since the last."""

import re
import time

import jax
import numpy as np
import pytest

from ddpm_jax import parallel
from ddpm_jax.meter import STEPS_IN_FLIGHT
from ddpm_jax.meter import Meter


def metrics(loss: float, bad_step: int = -1) -> dict[str, jax.Array]:
    values = {"loss": np.float32(loss), "bad_step": np.int32(bad_step)}
    return parallel.replicate(values)


class Recorded:
    """An array of a step, which notes when the host waits for it."""

    def __init__(self, step: int, waited: list[int]) -> None:
        self.step, self.waited = step, waited

    def block_until_ready(self) -> "Recorded":
        self.waited.append(self.step)
        return self


def test_a_reading_is_the_mean_over_the_interval() -> None:
    with Meter(8, first=0, steps=9) as meter:
        for loss in (1.0, 2.0, 6.0):
            meter.add(metrics(loss))
        assert meter.read()["loss"] == 3.0
        meter.restart()
        meter.add(metrics(5.0))
        assert meter.read()["loss"] == 5.0


def test_the_bad_step_is_the_last_one_reported_and_no_mean() -> None:
    with Meter(8, first=0, steps=9) as meter:
        for bad_step in (-1, -1, 7, 7):
            meter.add(metrics(1.0, bad_step))
        assert meter.read()["bad_step"] == 7


def test_a_loss_that_is_not_finite_is_not_hidden() -> None:
    with Meter(8, first=0, steps=9) as meter:
        meter.add(metrics(1.0))
        meter.add(metrics(float("nan")))
        assert np.isnan(meter.read()["loss"])


def test_speed_counts_the_images_since_the_restart_only() -> None:
    with Meter(10, first=0, steps=9) as meter:
        meter.add(metrics(1.0))
        outer = time.perf_counter()
        meter.restart()
        inner = time.perf_counter()
        for _ in range(3):
            meter.add(metrics(1.0))
        shortest = time.perf_counter() - inner
        speed = meter.read()["images_per_s"]
        longest = time.perf_counter() - outer
    assert 30 / longest <= speed <= 30 / shortest


def test_the_host_waits_for_the_step_of_a_few_steps_ago_and_for_no_later_one() -> None:
    waited: list[int] = []
    with Meter(8, first=0, steps=20) as meter:
        for step in range(12):
            meter.add({"loss": Recorded(step, waited)})
            expected = list(range(max(0, step + 1 - STEPS_IN_FLIGHT)))
            assert waited == expected


def test_without_a_terminal_a_reading_is_a_line_with_the_time_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Meter(10, first=40, steps=100) as meter:
        for _ in range(10):
            meter.add(metrics(1.0))
        meter.show({"loss": 0.123456, "grad_norm": 1.0, "images_per_s": 20.0})
        meter.show({"held_out_loss": 0.5})
    first, second = capsys.readouterr().out.splitlines()
    # 50 steps are left, of 10 images each, at 20 images in a second.
    assert re.split("  +", first) == [
        "step 50/100",
        "loss 0.1235",
        "images_per_s 20",
        "25 s left",
    ]
    assert "held_out_loss 0.5" in second and "left" not in second


def test_a_process_that_is_not_the_first_says_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Meter(10, first=0, steps=9, active=False) as meter:
        meter.add(metrics(1.0))
        meter.show(meter.read())
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
