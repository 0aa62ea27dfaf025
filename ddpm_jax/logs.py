"""What a run writes down: scalars as JSON lines and for TensorBoard, and pictures."""

import contextlib
import json
import math
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ddpm_jax.files import replacing
from ddpm_jax.images import grid
from ddpm_jax.images import save_grid


class Logs:
    """Writes workdir/metrics.jsonl, workdir/tensorboard and workdir/samples.

    A run that resumes at step start drops what an earlier one wrote of later steps,
    so that each step is there once.
    """

    def __init__(self, workdir: Path, start: int, *, active: bool = True) -> None:
        """Goes on from step start; writes nothing unless active."""
        self.workdir, self.active = workdir, active
        self.metrics = workdir / "metrics.jsonl"
        if active:
            self._open(start)

    def _open(self, start: int) -> None:
        from tensorboardX import SummaryWriter

        _drop_after(self.metrics, start)
        self.file = open(self.metrics, "a", encoding="utf-8")
        self.board = SummaryWriter(
            str(self.workdir / "tensorboard"),
            purge_step=start + 1,
            flush_secs=30,
            # Two starts in one second would otherwise write to the same file.
            filename_suffix=f".{start:09d}",
        )

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes both files."""
        if self.active:
            self.file.close()
            self.board.close()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Writes the scalars of a step: one line, one point in each curve."""
        if not self.active:
            return
        finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self.file.write(json.dumps({"step": step, **finite}) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def images(self, step: int, images: np.ndarray, columns: int | None = None) -> None:
        """Writes a grid of uint8 images [N, H, W, C]."""
        if not self.active:
            return
        board = grid(images, columns)
        rgb = np.repeat(board, 3, axis=2) if board.shape[2] == 1 else board
        self.board.add_image("samples", rgb, step, dataformats="HWC")
        path = self.workdir / "samples" / f"step_{step:07d}.png"
        save_grid(path, images, columns)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Reads the lines of a metrics.jsonl; one that is damaged is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            line = json.loads(text)
            if isinstance(line, dict) and "step" in line:
                lines.append(line)
    return lines


def _drop_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    with replacing(path) as file:
        file.write("".join(json.dumps(line) + "\n" for line in kept).encode())
