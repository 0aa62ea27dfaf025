"""Plots show each column of a table over the right other one."""

import numpy as np
from matplotlib.figure import Figure

from ddpm_jax.plots import NOISY
from ddpm_jax.plots import PREDICTED
from ddpm_jax.plots import progress_panels
from ddpm_jax.plots import rate_distortion_panels

RNG = np.random.default_rng(0)


def test_the_panels_of_figure_5_are_over_time_and_distortion_over_rate() -> None:
    names = {
        "reverse time": "reverse_time",
        "rate (bits/dim)": "rate_bits_per_dim",
        "distortion (RMSE of 255)": "rmse",
    }
    curve = {name: RNG.random(5) for name in names.values()}
    figure = Figure()
    rate_distortion_panels(figure, curve)
    labels = [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]
    time, rate, distortion = names
    assert labels == [(time, distortion), (time, rate), (rate, distortion)]
    for axes, (x, y) in zip(figure.axes, labels, strict=True):
        (line,) = axes.lines
        np.testing.assert_array_equal(line.get_xdata(), curve[names[x]])
        np.testing.assert_array_equal(line.get_ydata(), curve[names[y]])


def test_progress_is_over_t_that_falls_and_a_metric_goes_by_its_name() -> None:
    names = ("t", PREDICTED, NOISY, "frechet_distance_digits_cnn_128")
    curves = {name: RNG.random(5) for name in names}
    figure = Figure()
    progress_panels(figure, curves)
    rmse, metric = figure.axes
    lines = {line.get_label(): line for line in rmse.lines}
    for label, name in (("$x_t$", NOISY), ("predicted $x_0$", PREDICTED)):
        np.testing.assert_array_equal(lines[label].get_xdata(), curves["t"])
        np.testing.assert_array_equal(lines[label].get_ydata(), curves[name])
    np.testing.assert_array_equal(metric.lines[0].get_ydata(), curves[names[3]])
    assert metric.get_ylabel().startswith(names[3])
    assert metric.get_xlim() == (curves["t"][0], curves["t"][-1])
