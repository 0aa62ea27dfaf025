"""What several methods made of noisy images, as tables."""

import csv
import io
from typing import NamedTuple

import numpy as np


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


def as_csv(table: dict[float, list[Answer]]) -> str:
    """The table: noise, method, setting, mean PSNR and its standard error."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["noise", "method", "setting", "psnr_db", "standard_error_db"])
    for level, answers in table.items():
        for x in answers[1:]:
            error = x.psnr.std() / np.sqrt(len(x.psnr))
            row = (f"{level:g}", x.name, x.setting, f"{x.psnr.mean():.2f}")
            writer.writerow([*row, f"{error:.2f}"])
    return text.getvalue()


def as_markdown(table: dict[float, list[Answer]]) -> str:
    """The table with a row for each method and a column for each level of noise."""
    levels = list(table)
    lines = ["| PSNR in dB | " + " | ".join(f"noise {x:g}" for x in levels) + " |"]
    lines.append("|---" * (len(levels) + 1) + "|")
    for place, first in enumerate(table[levels[0]][1:], start=1):
        cells = [f"{table[level][place].psnr.mean():.2f}" for level in levels]
        lines.append(f"| {first.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
