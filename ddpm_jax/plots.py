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
FRECHET = "frechet_distance_of_predicted_x_0"


def plot_rate_distortion(path: Path, curve: Mapping[str, np.ndarray]) -> list[Path]:
    """Draws Figure 5 of Ho et al. (2020): both over time, and one over the other.

    curve holds the columns of `rate_distortion`.
    """
    figure = new_figure(path, (11, 3.2), "evaluate")
    if figure is None:
        return []
    time, rate, rmse = (
        curve[name] for name in ("reverse_time", "rate_bits_per_dim", "rmse")
    )
    words = ("reverse time", "rate (bits/dim)", "distortion (RMSE of 255)")
    panels = ((time, rmse, 0, 2), (time, rate, 0, 1), (rate, rmse, 1, 2))
    for axes, (x, y, below, beside) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.plot(x, y)
        axes.set(xlabel=words[below], ylabel=words[beside])
    return save_figure(path, figure)


def plot_progress(path: Path, curves: Mapping[str, np.ndarray]) -> list[Path]:
    """Draws Figure 10 of Ho et al. (2020): curves over t, from noise to the sample.

    curves holds "t", PREDICTED, NOISY and, if it was measured, FRECHET.
    """
    t, count = curves["t"], 2 if FRECHET in curves else 1
    figure = new_figure(path, (5.5 * count, 3.4), "figures")
    if figure is None:
        return []
    panels = figure.subplots(1, count, squeeze=False)[0]
    panels[0].plot(t, curves[NOISY], color="0.6", label="$x_t$")
    panels[0].plot(t, curves[PREDICTED], color="C0", label="predicted $x_0$")
    panels[0].set_ylabel("RMSE to the sample (of 255)")
    panels[0].legend()
    if count == 2:
        panels[1].plot(t, curves[FRECHET], color="C0")
        panels[1].set_ylabel("Fréchet distance of predicted $x_0$")
    for axes in panels:
        axes.set(xlabel="t, from noise to the sample", xlim=(t[0], t[-1]))
    return save_figure(path, figure)


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
        figure.savefig(file, format="png", dpi=120)
    return [path]
