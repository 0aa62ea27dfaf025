"""Curves as pictures, by matplotlib, which the extras evaluate and figures install.

Where it is missing a plot says so in one line, and no file is written.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddpm_jax.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREDICTED, NOISY = "rmse_of_predicted_x_0", "rmse_of_x_t"


def plot_rate_distortion(path: Path, curve: Mapping[str, np.ndarray]) -> list[Path]:
    """Draws Figure 5 of Ho et al. (2020): both over time, and one over the other.

    curve holds the columns of `rate_distortion`.
    """
    figure = new_figure(path, (11, 3.2), "evaluate")
    if figure is None:
        return []
    rate_distortion_panels(figure, curve)
    return save_figure(path, figure)


def rate_distortion_panels(figure: "Figure", curve: Mapping[str, np.ndarray]) -> None:
    """The three panels of Figure 5: distortion and rate over time, and one another."""
    time, rate, rmse = (
        curve[name] for name in ("reverse_time", "rate_bits_per_dim", "rmse")
    )
    words = ("reverse time", "rate (bits/dim)", "distortion (RMSE of 255)")
    panels = ((time, rmse, 0, 2), (time, rate, 0, 1), (rate, rmse, 1, 2))
    for axes, (x, y, below, beside) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.plot(x, y)
        axes.set(xlabel=words[below], ylabel=words[beside])


def plot_progress(path: Path, curves: Mapping[str, np.ndarray]) -> list[Path]:
    """Draws Figure 10 of Ho et al. (2020): curves over t, from noise to the sample.

    curves holds "t", PREDICTED, NOISY and, under their names, metrics of the predicted
    x_0, each of which has a panel of its own.
    """
    panels = len(curves) - 2  # PREDICTED and NOISY share one, and t has none
    figure = new_figure(path, (4.6 * panels, 3.2), "figures")
    if figure is None:
        return []
    progress_panels(figure, curves)
    return save_figure(path, figure)


def progress_panels(figure: "Figure", curves: Mapping[str, np.ndarray]) -> None:
    """A panel of RMSE, and one for each metric, over t that falls."""
    t, metrics = curves["t"], [x for x in curves if x not in ("t", PREDICTED, NOISY)]
    panels = figure.subplots(1, 1 + len(metrics), squeeze=False)[0]
    panels[0].plot(t, curves[NOISY], color="0.6", label="$x_t$")
    panels[0].plot(t, curves[PREDICTED], color="C0", label="predicted $x_0$")
    panels[0].set_ylabel("RMSE to the sample (of 255)")
    panels[0].legend()
    for axes, metric in zip(panels[1:], metrics, strict=True):
        axes.plot(t, curves[metric], color="C0")
        axes.set_ylabel(f"{metric}\nof predicted $x_0$")
    for axes in panels:
        axes.set(xlabel="t, from noise to the sample", xlim=(t[0], t[-1]))


def new_figure(path: Path, size: tuple[float, float], extra: str) -> "Figure | None":
    """An empty figure of so many inches; None without matplotlib, which extra has."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print(f'remark: no {path.name}, for which pip install "ddpm_jax[{extra}]"')
        return None
    # Not pyplot, which has a global state and looks for a screen.
    return Figure(figsize=size, layout="constrained")


def save_figure(path: Path, figure: "Figure") -> list[Path]:
    """Writes a figure, whose panels all begin at 0 and have a faint grid."""
    for axes in figure.axes:
        axes.set_ylim(0, None)
        axes.grid(alpha=0.3)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=160)
    return [path]
