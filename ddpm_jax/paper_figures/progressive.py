"""How samples come to be: Figures 6 and 10 of Ho et al. (2020)."""

from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddpm_jax.data import Images
from ddpm_jax.loading import Trained
from ddpm_jax.meter import image_bar
from ddpm_jax.metrics.frechet import frechet_distance
from ddpm_jax.metrics.names import metric_name
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import moments_of
from ddpm_jax.metrics.statistics import statistics_of
from ddpm_jax.metrics.statistics import stream
from ddpm_jax.paper_figures.boards import save_board
from ddpm_jax.paper_figures.features import Compared
from ddpm_jax.paper_figures.features import FeatureFn
from ddpm_jax.paper_figures.kinds import evenly
from ddpm_jax.paper_figures.neighbours import blocks
from ddpm_jax.plots import NOISY
from ddpm_jax.plots import PREDICTED
from ddpm_jax.plots import plot_progress
from ddpm_jax.samplers.ddpm import Frames
from ddpm_jax.sampling import compile_frames
from ddpm_jax.sampling import even_steps
from ddpm_jax.tables import write_csv


class Reference(NamedTuple):
    """What samples should be like."""

    name: str  # of the features
    features: FeatureFn
    statistics: Statistics


def write_progressive(
    out: Path,
    trained: Trained,
    *,
    seed: int,
    num: int,
    shown: int,
    frames: int,
    batch_size: int,
    reference: Reference | None = None,
) -> list[Path]:
    """Writes how the predicted x_0 of num samples come to be: a board and curves.

    out/progressive.png shows shown samples in frames columns; out/progressive.csv and
    progressive_curve.png have how far the prediction is from the final sample, as RMSE
    in values of 0..255, at up to 50 t, and its Frechet distance to a reference, if one
    is given, whose name then follows upon progressive.
    """
    total = trained.parts.schedule.num_timesteps
    steps = even_steps(total, min(50, total))
    chosen = evenly(len(steps), frames)
    rows: list[np.ndarray] = []
    kept: list[Measured] = []
    for x_0, chain in draw_chains(trained, steps, seed, num, batch_size):
        if len(rows) < shown:
            rows += [*np.concatenate([chain.x_0[:, chosen], x_0[:, None]], axis=1)]
        kept.append(measure(x_0, chain, reference))
    stem = "progressive" if reference is None else f"progressive_{reference.name}"
    board = save_board(
        out / f"{stem}.png",
        np.stack(rows[:shown]),
        above=[*(f"t = {steps[i]}" for i in chosen), "sample"],
    )
    curves = {"t": np.array(steps), **curves_of(kept, reference)}
    print(half_way(curves, num))
    table = write_csv(out / f"{stem}.csv", curves)
    return [board, table, *plot_progress(out / f"{stem}_curve.png", curves)]


def draw_chains(
    trained: Trained, steps: tuple[int, ...], seed: int, num: int, batch_size: int
) -> Iterator[tuple[np.ndarray, Frames]]:
    """Yields samples 0..num-1 in batches, with their chains at each t of steps."""
    size = min(batch_size, num)
    draw = compile_frames(trained, seed=seed, batch_size=size, frame_steps=steps)
    with image_bar(num, 0) as bar:
        for start in range(0, num, size):
            x_0, chain = draw(np.arange(start, min(start + size, num)))
            yield x_0, chain
            bar.update(len(x_0))


class Measured(NamedTuple):
    """What the curves need of B chains and their F frames."""

    predicted: np.ndarray  # squared error of the predicted x_0 to the sample, [B, F]
    noisy: np.ndarray  # that of x_t, [B, F]
    features: np.ndarray | None  # of the predicted x_0, [B, F, D]


def measure(x_0: np.ndarray, chain: Frames, reference: Reference | None) -> Measured:
    """Compares uint8 frames [B, F, H, W, C] with the samples x_0 that they led to."""
    predicted, noisy = np.asarray(chain.x_0), np.asarray(chain.x_t)
    features = None
    if reference is not None:
        found = reference.features(predicted.reshape(-1, *x_0.shape[1:]))
        features = found.reshape(*predicted.shape[:2], -1)
    return Measured(squared_error(predicted, x_0), squared_error(noisy, x_0), features)


def squared_error(frames: np.ndarray, x_0: np.ndarray) -> np.ndarray:
    """The mean square [B, F] of uint8 frames [B, F, H, W, C] less x_0 [B, H, W, C].

    Example:
      >>> x_0 = np.zeros((2, 4, 4, 1), np.uint8)
      >>> squared_error(x_0[:, None] + np.uint8([[[[[3]]], [[[0]]]]]), x_0).tolist()
      [[9.0, 0.0], [9.0, 0.0]]
    """
    # A frame at a time, since float64 is eight times as large.
    gaps = (frame.astype(float) - x_0 for frame in frames.swapaxes(0, 1))
    return np.stack([np.square(gap).mean(axis=(1, 2, 3)) for gap in gaps], axis=1)


def curves_of(
    kept: Sequence[Measured], reference: Reference | None
) -> dict[str, np.ndarray]:
    """The curves [F] over all chains: RMSE, and the Frechet distance if there is one.

    The distance goes by the name that `metric_name` gives it, with the features and
    the number of samples.
    """
    predicted, noisy = (
        np.sqrt(np.concatenate(errors).mean(axis=0))
        for errors in ([x.predicted for x in kept], [x.noisy for x in kept])
    )
    curves = {PREDICTED: predicted, NOISY: noisy}
    found = [x.features for x in kept if x.features is not None]
    if reference is None or not found:
        return curves
    features = np.concatenate(found)
    name = metric_name("fid", reference.name, len(features))
    distances = [distance(x, reference) for x in features.swapaxes(0, 1)]
    return curves | {name: np.array(distances)}


def half_way(curves: dict[str, np.ndarray], num: int) -> str:
    """Says at which t half of the way to the sample is done."""
    t, gaps = curves["t"], curves[PREDICTED]
    half = t[np.argmax(2 * gaps <= gaps[0])]
    return (
        f"predicted at t = {t[0]}, x_0 is {gaps[0]:.0f} of 255 off the sample (RMSE, "
        f"mean of {num}); half as much at t = {half}"
    )


def reference_of(images: Images, compared: Compared) -> Reference:
    """What the images of a data set are like in some features."""
    moments = stream(map(compared.features, blocks(images)))
    return Reference(*compared, statistics_of(moments))


def distance(features: np.ndarray, reference: Reference) -> float:
    """The Frechet distance of features [n, D] to those of a reference."""
    ours, theirs = statistics_of(moments_of(features)), reference.statistics
    return frechet_distance(ours.mu, ours.sigma, theirs.mu, theirs.sigma)
