"""What fid, kid, is and pr say of their numbers, before anything is computed.

Bad input is refused here, in one sentence: a chain that the model does not allow,
images that the extractor does not take, a reference of other features.
"""

from pathlib import Path
from typing import Any

from ddpm_jax.chains import check_chain
from ddpm_jax.evaluation.feature_rows import row_type
from ddpm_jax.evaluation.task import Task
from ddpm_jax.files import checksum
from ddpm_jax.metrics.names import metric_name
from ddpm_jax.metrics.statistics import Statistics
from ddpm_jax.metrics.statistics import load_statistics

SPLITS = ("train", "held_out")
NUM_SUBSETS, SUBSET_SIZE, NUM_SPLITS, NEIGHBOUR = 100, 1000, 10, 3


def fid_protocol(task: Task) -> dict[str, Any]:
    """What the Frechet distance is measured of.

    Raises:
      ValueError: if there are too few images for a covariance.
    """
    samples, path = samples_protocol(task), Path(task.settings.reference)
    if task.settings.reference in SPLITS:
        check_counts(task, "fid", 2)
        return samples | {"reference": task.reference.protocol}
    check_samples(task, "fid", 2)
    statistics = read_statistics(task, path)
    return samples | {
        "reference": {
            "statistics": path.name,
            "sha256": checksum(path),
            "images": statistics.num_images or "the file does not say",
        }
    }


def kid_protocol(task: Task) -> dict[str, Any]:
    """What the kernel distance is measured of, and in which subsets."""
    protocol = images_protocol(task, "kid", 2)
    size = min(SUBSET_SIZE, task.samples.num_images, task.reference.num_images)
    return protocol | {"subsets": NUM_SUBSETS, "images of a subset": size}


def pr_protocol(task: Task) -> dict[str, Any]:
    """What precision and recall are measured of, and with which neighbour."""
    return images_protocol(task, "pr", NEIGHBOUR + 1) | {"k": NEIGHBOUR}


def is_protocol(task: Task) -> dict[str, Any]:
    """What the Inception Score is measured of: samples alone.

    Raises:
      ValueError: if the extractor is no classifier, or there is one sample only.
    """
    protocol, name = samples_protocol(task), task.extractor.name
    if "logits" not in (row_type(task.extractor, task.trained.parts.shape).names or ()):
        raise ValueError(
            f"the metric 'is' needs a classifier, and the extractor {name} is none; "
            "give another --extractor"
        )
    check_samples(task, "is", 2)
    # A part of one image has the score 1, whatever the image is.
    return protocol | {"parts": min(NUM_SPLITS, protocol["samples"] // 2)}


def samples_protocol(task: Task) -> dict[str, Any]:
    """What every metric says of the samples and of the extractor.

    Raises:
      ValueError: if the model allows no such chain, or the extractor no such images.
    """
    trained, settings = task.trained, task.settings
    if settings.samples is None:
        check_chain(trained.parts, task.chain)
    row_type(task.extractor, task.samples.shape)
    weights = {"sha256": task.extractor.checksum} if task.extractor.checksum else {}
    return task.samples.protocol | {
        "extractor": {"name": task.extractor.name, **weights}
    }


def images_protocol(task: Task, metric: str, least: int) -> dict[str, Any]:
    """The same of a metric that needs images of reference, not their statistics alone.

    Raises:
      ValueError: if there are none, or fewer images than least.
    """
    if task.settings.reference not in SPLITS:
        raise ValueError(
            f"the metric {metric} compares with images, and --reference is "
            f"{task.settings.reference}; give train or held_out"
        )
    samples = samples_protocol(task)
    check_counts(task, metric, least)
    return samples | {"reference": task.reference.protocol}


def check_counts(task: Task, metric: str, least: int) -> None:
    """Raises ValueError unless there are least samples, and images of reference."""
    check_samples(task, metric, least)
    check_count(task.reference.num_images, metric, least, "a larger --num-reference")


def check_samples(task: Task, metric: str, least: int) -> None:
    """Raises ValueError unless there are least samples."""
    read = task.settings.samples is not None
    advice = "--samples of more images" if read else "a larger --num-samples"
    check_count(task.samples.num_images, metric, least, advice)


def check_count(count: int, metric: str, least: int, advice: str) -> None:
    """Raises ValueError if a metric of a set needs more images than it has."""
    if count < least:
        raise ValueError(
            f"the metric {metric!r} needs at least {least} images of each set, and "
            f"there is one of {count}; give {advice}"
        )


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
    counts = task.samples.num_images, num_reference(task, metric)
    return metric_name(metric, task.extractor.name, *counts)


def num_reference(task: Task, metric: str) -> int | None:
    """How many images samples are compared with, if not with the whole training set."""
    reference, num = task.settings.reference, task.settings.num_reference
    if metric == "is" or (reference == "train" and num is None):
        return None
    if reference in SPLITS:
        return task.reference.num_images
    return read_statistics(task, Path(reference)).num_images
