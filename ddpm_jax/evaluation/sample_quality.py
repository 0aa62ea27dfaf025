"""The metrics fid, kid, is and pr of evaluate.py: samples of a model, against images.

Samples are drawn, turned into features and forgotten, a batch at a time; features stay
in OUT/features, a folder for each set of images, so that further metrics of the same
samples draw nothing. docs/evaluation.md says what the numbers mean.
"""

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_jax import parallel
from ddpm_jax.evaluation.feature_rows import feature_rows
from ddpm_jax.evaluation.sample_protocols import NEIGHBOUR
from ddpm_jax.evaluation.sample_protocols import NUM_SPLITS
from ddpm_jax.evaluation.sample_protocols import NUM_SUBSETS
from ddpm_jax.evaluation.sample_protocols import SUBSET_SIZE
from ddpm_jax.evaluation.sample_protocols import fid_protocol
from ddpm_jax.evaluation.sample_protocols import is_protocol
from ddpm_jax.evaluation.sample_protocols import kid_protocol
from ddpm_jax.evaluation.sample_protocols import label
from ddpm_jax.evaluation.sample_protocols import pr_protocol
from ddpm_jax.evaluation.sample_protocols import read_statistics
from ddpm_jax.evaluation.sample_sources import SPLITS
from ddpm_jax.evaluation.sample_sources import Described
from ddpm_jax.evaluation.sample_sources import reference_of
from ddpm_jax.evaluation.sample_sources import samples_of
from ddpm_jax.evaluation.task import Measured
from ddpm_jax.evaluation.task import Metric
from ddpm_jax.evaluation.task import Number
from ddpm_jax.evaluation.task import Task
from ddpm_jax.metrics.frechet import frechet_distance
from ddpm_jax.metrics.inception_score import inception_score
from ddpm_jax.metrics.kid import kernel_distance
from ddpm_jax.metrics.precision_recall import precision_recall
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import save_statistics
from ddpm_jax.metrics.statistics import statistics_of
from ddpm_jax.metrics.statistics import stream
from ddpm_jax.sampling import weights_identity

FOLDER = "features"
CHUNK = 1024  # rows of features in memory at a time


def fid(task: Task) -> Measured:
    """The Frechet distance, and the statistics of the reference as a file."""
    found = gaussian(task, samples_rows(task))
    files = []
    if task.settings.reference in SPLITS:
        reference = gaussian(task, reference_rows(task))
        name = f"reference_{task.extractor.name}_{task.settings.reference}.npz"
        files.append(task.out / name)
        if parallel.first_process():
            save_statistics(files[0], reference)
    else:
        reference = read_statistics(task, Path(task.settings.reference))
    distance = frechet_distance(found.mu, found.sigma, reference.mu, reference.sigma)
    return Measured([number(task, "fid", distance)], files)


def kid(task: Task) -> Measured:
    """The kernel distance, and its standard deviation over the subsets."""
    rows, reference = samples_rows(task), reference_rows(task)
    mean, std = kernel_distance(
        rows["features"],
        reference["features"],
        num_subsets=NUM_SUBSETS,
        subset_size=min(SUBSET_SIZE, len(rows), len(reference)),
    )
    found = number(task, "kid", mean)
    spread = Number("its standard deviation over subsets", std, None, "")
    return Measured([found, spread], [])


def score(task: Task) -> Measured:
    """The Inception Score, and its standard deviation over the parts."""
    rows = samples_rows(task)
    mean, std = inception_score(rows["logits"], num_splits=min(NUM_SPLITS, len(rows)))
    found = number(task, "is", mean)
    spread = Number("its standard deviation over parts", std, None, "")
    return Measured([found, spread], [])


def pr(task: Task) -> Measured:
    """Precision and recall."""
    rows, reference = samples_rows(task), reference_rows(task)
    precision, recall = precision_recall(
        rows["features"], reference["features"], k=NEIGHBOUR
    )
    found = [number(task, "precision", precision), number(task, "recall", recall)]
    return Measured(found, [])


def samples_rows(task: Task) -> np.ndarray:
    """The features of the samples, computed or found."""
    return rows_of(task, samples_of(task), weights_identity(task.trained))


def reference_rows(task: Task) -> np.ndarray:
    """The features of the images of reference, computed or found."""
    return rows_of(task, reference_of(task), {})


def rows_of(task: Task, described: Described, model: dict[str, Any]) -> np.ndarray:
    """The features of some images, in a folder that is named after what they are."""
    said, source = described
    extractor = task.extractor
    of = {"extractor": extractor.name, "sha256": extractor.checksum}
    identity = json.loads(json.dumps(model | said | of))
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12]
    folder = task.out / FOLDER / name
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
