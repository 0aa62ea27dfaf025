"""What several methods made of noisy images, as tables."""

from typing import NamedTuple

import numpy as np

from ddpm_jax.rate_distortion import estimate


class Answer(NamedTuple):
    """What a method made of N noisy images."""

    name: str
    setting: str  # how it was chosen
    images: np.ndarray  # [N, H, W, C] in [-1, 1]
    psnr: np.ndarray  # [N] dB


def caption(answer: Answer) -> str:
    """A name in words one below the other, and the mean PSNR.

    Example:
      >>> caption(Answer("model, a draw", "", np.zeros(1), np.array([20.0])))
      'model,\\na draw\\n20.0 dB'
    """
    first, _, rest = answer.name.partition(" ")
    mean = answer.psnr.mean()
    decibels = f"{mean:.1f} dB" if np.isfinite(mean) else ""
    return f"{first}\n{rest}\n{decibels}"


def as_columns(table: dict[float, list[Answer]]) -> dict[str, np.ndarray]:
    """The columns of the table: noise, method, setting, mean PSNR and its error."""
    answers = [(level, x) for level, row in table.items() for x in row[1:]]
    means, errors = zip(*(estimate(x.psnr) for _, x in answers), strict=True)
    return {
        "noise": np.array([level for level, _ in answers], float),
        "method": np.array([x.name for _, x in answers]),
        "setting": np.array([x.setting for _, x in answers]),
        "psnr_db": np.array(means).round(2),
        "standard_error_db": np.array(errors).round(2),
    }


def as_markdown(table: dict[float, list[Answer]]) -> str:
    """The table with a row for each method and a column for each level of noise."""
    levels = list(table)
    lines = ["| PSNR in dB | " + " | ".join(f"noise {x:g}" for x in levels) + " |"]
    lines.append("|---" * (len(levels) + 1) + "|")
    for place, first in enumerate(table[levels[0]][1:], start=1):
        cells = [f"{table[level][place].psnr.mean():.2f}" for level in levels]
        lines.append(f"| {first.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
