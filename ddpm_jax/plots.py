"""Curves as pictures, by matplotlib, which the evaluate extra installs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddpm_jax.files import replacing


def plot_rate_distortion(path: Path, curve: Mapping[str, np.ndarray]) -> list[Path]:
    """Draws Figure 5 of Ho et al. (2020): both over time, and one over the other.

    curve holds the columns of `rate_distortion`. Where matplotlib is missing it says so
    in one line, and no file is written.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print(f'remark: no {path.name}, for which pip install "ddpm_jax[evaluate]"')
        return []
    # Not pyplot, which has a global state and looks for a screen.
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    time, rate, rmse = (
        curve[name] for name in ("reverse_time", "rate_bits_per_dim", "rmse")
    )
    words = ("reverse time", "rate (bits/dim)", "distortion (RMSE of 255)")
    panels = ((time, rmse, 0, 2), (time, rate, 0, 1), (rate, rmse, 1, 2))
    for axes, (x, y, below, beside) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.plot(x, y)
        axes.set(xlabel=words[below], ylabel=words[beside], ylim=(0, None))
        axes.grid(alpha=0.3)
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return [path]
