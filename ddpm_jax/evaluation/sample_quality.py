"""The metrics fid, kid, is and pr of evaluate.py: samples of a model, against images.

Samples are drawn, turned into features and forgotten, a batch at a time; features stay
in OUT/features, a folder for each set of images, so that further metrics of the same
samples draw nothing. docs/evaluation.md says what the numbers mean.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ddpm_jax import processes
from ddpm_jax.evaluation.feature_rows import Source
from ddpm_jax.evaluation.feature_rows import feature_rows
from ddpm_jax.evaluation.sample_protocols import SPLITS
from ddpm_jax.evaluation.sample_protocols import fid_protocol
from ddpm_jax.evaluation.sample_protocols import is_protocol
from ddpm_jax.evaluation.sample_protocols import kid_protocol
from ddpm_jax.evaluation.sample_protocols import label
from ddpm_jax.evaluation.sample_protocols import pr_protocol
from ddpm_jax.evaluation.sample_protocols import read_statistics
from ddpm_jax.evaluation.task import Measured
from ddpm_jax.evaluation.task import Metric
from ddpm_jax.evaluation.task import Number
from ddpm_jax.evaluation.task import Task
from ddpm_jax.evaluation.task import digest
from ddpm_jax.meter import job_bar
from ddpm_jax.metrics.frechet import frechet_distance
from ddpm_jax.metrics.inception_score import inception_score
from ddpm_jax.metrics.kid import kernel_distance
from ddpm_jax.metrics.precision_recall import precision_recall
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import save_statistics
from ddpm_jax.metrics.statistics import statistics_of
from ddpm_jax.metrics.statistics import stream

FOLDER = "features"
CHUNK = 1024  # rows of features in memory at a time


def fid(task: Task) -> Measured:
    """The Frechet distance, and the statistics of the reference as a file."""
    files, drawn = [], gaussian(task, rows_of(task, task.samples))
    if task.settings.reference in SPLITS:
        reference = gaussian(task, rows_of(task, task.reference))
        files.append(task.out / reference_name(task))
        if processes.first_process():
            save_statistics(files[0], reference)
    else:
        reference = read_statistics(task, Path(task.settings.reference))
    distance = frechet_distance(drawn.mu, drawn.sigma, reference.mu, reference.sigma)
    return Measured([number(task, "fid", distance)], files)


def reference_name(task: Task) -> str:
    """The file of a reference's statistics, by what they are of."""
    of = task.reference.protocol
    which = f"{of['split']}_{of['images']}_{of['crc32 of the images']:08x}"
    return f"reference_{task.extractor.name}_{which}.npz"


def kid(task: Task) -> Measured:
    """The kernel distance, and its standard deviation over the subsets."""
    samples, reference = rows_of(task, task.samples), rows_of(task, task.reference)
    protocol = kid_protocol(task)
    mean, std = kernel_distance(
        samples["features"],
        reference["features"],
        num_subsets=protocol["subsets"],
        subset_size=protocol["images of a subset"],
        progress=job_bar,
    )
    spread = Number("its standard deviation over subsets", std, None, "")
    return Measured([number(task, "kid", mean), spread], [])


def score(task: Task) -> Measured:
    """The Inception Score, and its standard deviation over the parts."""
    samples, num_splits = rows_of(task, task.samples), is_protocol(task)["parts"]
    mean, std = inception_score(samples["logits"], num_splits=num_splits)
    spread = Number("its standard deviation over parts", std, None, "")
    return Measured([number(task, "is", mean), spread], [])


def pr(task: Task) -> Measured:
    """Precision and recall."""
    samples, reference = rows_of(task, task.samples), rows_of(task, task.reference)
    precision, recall = precision_recall(
        samples["features"],
        reference["features"],
        k=pr_protocol(task)["k"],
        progress=job_bar,
    )
    numbers = [number(task, "precision", precision), number(task, "recall", recall)]
    return Measured(numbers, [])


def rows_of(task: Task, source: Source) -> np.ndarray:
    """The features of images, computed or read, in a folder named after the images."""
    extractor = task.extractor
    of = {"extractor": extractor.name, "sha256": extractor.checksum}
    identity = json.loads(json.dumps(source.protocol | of))
    folder = task.out / FOLDER / digest(identity)
    return feature_rows(folder, identity, source, extractor, task.settings.batch_size)


def gaussian(task: Task, rows: np.ndarray) -> Statistics:
    """Mean and covariance of the features of rows."""

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(rows), CHUNK):
            yield rows["features"][start : start + CHUNK]

    return statistics_of(stream(chunks()), task.extractor.name)


def number(task: Task, metric: str, value: float) -> Number:
    """A number under the name that says what it is of."""
    return Number(label(task, metric), value, None, "")


METRICS: dict[str, Metric] = {
    "fid": Metric(fid_protocol, fid, partial(label, metric="fid")),
    "kid": Metric(kid_protocol, kid, partial(label, metric="kid")),
    "is": Metric(is_protocol, score, partial(label, metric="is")),
    "pr": Metric(pr_protocol, pr, partial(label, metric="pr")),
}
