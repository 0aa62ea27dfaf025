"""What fid, kid, is and pr say of their numbers, before anything is computed.

Bad input is refused here, in one sentence: a chain that the model does not allow,
images that the extractor does not take, a reference of other features.
"""

from pathlib import Path
from typing import Any

from ddpm_jax.chains import check_chain
from ddpm_jax.evaluation.feature_rows import row_type
from ddpm_jax.evaluation.sample_sources import SPLITS
from ddpm_jax.evaluation.sample_sources import reference_of
from ddpm_jax.evaluation.sample_sources import samples_of
from ddpm_jax.evaluation.task import Task
from ddpm_jax.files import checksum
from ddpm_jax.metrics.names import metric_name
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import load_statistics

NUM_SUBSETS, SUBSET_SIZE, NUM_SPLITS, NEIGHBOUR = 100, 1000, 10, 3


def fid_protocol(task: Task) -> dict[str, Any]:
    """What the Frechet distance is measured of."""
    said = samples_protocol(task)
    if task.settings.reference in SPLITS:
        return said | reference_protocol(task)
    path = Path(task.settings.reference)
    statistics = read_statistics(task, path)
    return said | {
        "reference": {
            "statistics": path.name,
            "sha256": checksum(path),
            "images": statistics.num_images or "the file does not say",
        }
    }


def kid_protocol(task: Task) -> dict[str, Any]:
    """What the kernel distance is measured of, and in which subsets."""
    said = samples_protocol(task) | images_protocol(task, "kid")
    size = min(SUBSET_SIZE, said["samples"], said["reference"]["images"])
    return said | {"subsets": NUM_SUBSETS, "images of a subset": size}


def pr_protocol(task: Task) -> dict[str, Any]:
    """What precision and recall are measured of, and with which neighbour."""
    return samples_protocol(task) | images_protocol(task, "pr") | {"k": NEIGHBOUR}


def is_protocol(task: Task) -> dict[str, Any]:
    """What the Inception Score is measured of: samples alone.

    Raises:
      ValueError: if the extractor is no classifier.
    """
    said, name = samples_protocol(task), task.extractor.name
    if "logits" not in (row_type(task.extractor, task.trained.parts.shape).names or ()):
        raise ValueError(
            f"the metric is needs a classifier, and the extractor {name} is none; give "
            "another --extractor"
        )
    return said | {"parts": min(NUM_SPLITS, said["samples"])}


def samples_protocol(task: Task) -> dict[str, Any]:
    """What every metric says of the samples and of the extractor.

    Raises:
      ValueError: if the model allows no such chain, or the extractor no such images.
    """
    trained, settings = task.trained, task.settings
    if settings.samples is None:
        check_chain(trained.parts, task.chain)
    said, source = samples_of(task)
    row_type(task.extractor, source.shape)
    weights = {"sha256": task.extractor.checksum} if task.extractor.checksum else {}
    return said | {"extractor": {"name": task.extractor.name, **weights}}


def reference_protocol(task: Task) -> dict[str, Any]:
    """What a metric says of the images that samples are compared with."""
    return {"reference": reference_of(task)[0]}


def images_protocol(task: Task, metric: str) -> dict[str, Any]:
    """The same for a metric that needs images, not only their statistics."""
    if task.settings.reference not in SPLITS:
        raise ValueError(
            f"the metric {metric} compares with images, and --reference is "
            f"{task.settings.reference}; give train or held_out"
        )
    return reference_protocol(task)


def read_statistics(task: Task, path: Path) -> Statistics:
    """Statistics of reference, in a file of this project or another.

    Raises:
      FileNotFoundError, ValueError: if there are none, or of another extractor.
    """
    if path.suffix != ".npz":
        raise ValueError(
            f"--reference is {path}; give train, held_out, or an .npz of mu and sigma"
        )
    statistics = load_statistics(path)
    ours = task.extractor.name
    if statistics.extractor not in (None, ours):
        raise ValueError(
            f"{path} is of the extractor {statistics.extractor}, and the samples' is "
            f"{ours}; give the same --extractor"
        )
    dim = row_type(task.extractor, task.trained.parts.shape)["features"].shape[0]
    if len(statistics.mu) != dim:
        raise ValueError(
            f"{path} is of features of {len(statistics.mu)} numbers, and {ours} has "
            f"{dim}; give statistics of that extractor"
        )
    return statistics


def label(task: Task, metric: str) -> str:
    """Under which name a metric is stored: that of its number."""
    num_samples = samples_of(task)[0]["samples"]
    return metric_name(metric, task.extractor.name, num_samples)
