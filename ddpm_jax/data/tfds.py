"""A prepared TensorFlow Datasets (TFDS) set, read without TensorFlow.

TFDS reads the array_record format without TensorFlow; only preparing one of its own
sets (download, unpack, convert) needs it. The test split, or else the validation
split, is held out where a set has one.

The digits of MNIST and the sets made like it are 28x28, which halves only twice. Where
no image_size is asked for they are padded with black to 32x32, as is the custom.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import pathlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ddpm_jax.data.cache import fingerprint
from ddpm_jax.data.cache import make_folder
from ddpm_jax.data.cache import materialise
from ddpm_jax.data.dataset import Labels
from ddpm_jax.data.dataset import Rows
from ddpm_jax.data.dataset import Source
from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.decode import Policy
from ddpm_jax.data.decode import conform
from ddpm_jax.data.items import Items
from ddpm_jax.files import replacing

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

INSTALL = 'pip install "ddpm_jax[tfds]"'
ELSEWHERE = "a local folder or zip of the images serves as well: --data.source PATH"


def load_tfds(name: str, policy: Policy, cache_dir: pathlib.Path) -> Source:
    """The images of the set `name`, for example mnist or celeb_a_hq/256.

    It is looked for in $TFDS_DATA_DIR, or else in ~/tensorflow_datasets, and prepared
    there if it is missing.

    Raises:
        ValueError: TFDS knows no such set, or it has no training images in uint8.
        ModuleNotFoundError: TFDS, or TensorFlow to prepare with, is not installed.
        OSError: the set could not be downloaded and prepared.
    """
    builder = _prepared(name)
    feature = _image_feature(name, builder)
    policy = _for_feature(name, policy, builder.info.features[feature].shape)
    splits = list(builder.info.splits)
    if "train" not in splits:
        raise ValueError(f"tfds:{name} has no split train, only {', '.join(splits)}")
    items = partial(
        _items, builder, feature=feature, policy=policy, cache_dir=cache_dir
    )
    train = materialise(items("train"), cache_dir)
    others = [split for split in ("test", "validation") if split in splits]
    if not others:
        return train
    other = materialise(items(others[0]), cache_dir)
    skipped = {**other.skipped, **train.skipped}
    labels = train.labels
    if labels and other.labels:
        labels = labels._replace(held_out=other.labels.labels)
    return Source(train.images, skipped, other.images, labels)


def _items(
    builder: tfds.core.DatasetBuilder,
    split: str,
    feature: str,
    policy: Policy,
    cache_dir: pathlib.Path,
) -> Items:
    """The images of one split, to be decoded."""
    records = builder.as_data_source(split=split)
    height, width = policy.image_size or (0, 0)
    shape = (height, width, policy.channels or 0)

    def image(number: int) -> UInt8:
        return conform(records[number][feature], policy)

    info = pathlib.Path(builder.data_dir) / "dataset_info.json"
    prepared = (str(info), info.stat().st_mtime_ns)
    key = fingerprint("tfds", prepared, split, feature, len(records), policy)
    source = f"tfds:{builder.info.full_name} ({split})"
    names = [f"record {number}" for number in range(len(records))]
    stored = cache_dir / f"{key}.labels.npy"

    def labels(numbers: Rows) -> Labels | None:
        found = _labels(builder, split, feature, stored)
        return found and found._replace(labels=found.labels[numbers])

    return Items(source, names, image, lambda: shape, key, labels)


def _labels(
    builder: tfds.core.DatasetBuilder, split: str, feature: str, path: pathlib.Path
) -> Labels | None:
    """The feature label of each record, if the set has one; kept in a file."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    kind = features["label"] if "label" in features else None
    if not isinstance(kind, tfds.features.ClassLabel):
        return None
    if not path.exists():
        encoded = {feature: tfds.decode.SkipDecoding()}
        records = builder.as_data_source(split=split, decoders=encoded)
        labels = np.array([record["label"] for record in records], np.int64)
        make_folder(path.parent)
        with replacing(path) as file:
            np.save(file, labels)
    return Labels(tuple(kind.names), np.load(path, allow_pickle=False))


def _image_feature(name: str, builder: tfds.core.DatasetBuilder) -> str:
    """The name of the feature that holds the uint8 images."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    images = [
        key for key, kind in features.items() if isinstance(kind, tfds.features.Image)
    ]
    if len(images) != 1 and "image" not in images:
        raise ValueError(
            f"tfds:{name} has no feature image, only {', '.join(features)}"
        )
    return "image" if "image" in images else images[0]


def _for_feature(name: str, policy: Policy, shape: tuple[int | None, ...]) -> Policy:
    """The policy with the set's own size and channels where it leaves them open."""
    height, width, channels = shape
    if policy.image_size is None and (height, width) == (28, 28):
        policy = policy._replace(image_size=(32, 32), fit="pad")
    if policy.image_size is None:
        if height is None or width is None:
            raise ValueError(
                f"tfds:{name} has images of many sizes; set data.image_size"
            )
        policy = policy._replace(image_size=(height, width))
    return policy._replace(channels=policy.channels or channels or 3)


def _prepared(name: str) -> tfds.core.DatasetBuilder:
    """The builder of a set that is ready to be read."""
    builder = _builder(name)
    if not builder.info.splits:
        _prepare(name, builder)
    formats = {kind.value for kind in builder.info.available_file_formats()}
    if formats.isdisjoint(("array_record", "parquet")):
        raise ValueError(
            f"tfds:{name} is prepared in {builder.data_dir} as {', '.join(formats)},"
            " which only TensorFlow reads: set TFDS_DATA_DIR to another folder to"
            " prepare it there as array_record"
        )
    return builder


def _builder(name: str) -> tfds.core.DatasetBuilder:
    """Looks a set up by its name; did-you-mean where TFDS has no such set."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ModuleNotFoundError(
            f"tfds:{name} needs TensorFlow Datasets: {INSTALL}; {ELSEWHERE}"
        ) from error
    try:
        return tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except tfds.core.DatasetNotFoundError as error:
        # TFDS would ask a server for those of other projects.
        known = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name.partition("/")[0], known)
        hint = (
            f"did you mean {', '.join(close)}?" if close else "see tfds.list_builders()"
        )
        raise ValueError(f"TFDS has no set {name!r}: {hint}") from error
    except (AssertionError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"TFDS cannot make {name!r}: {reason}") from error


def _prepare(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Downloads a set and converts it to array_record, which needs TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError(
            f"tfds:{name} is not prepared in {builder.data_dir}, and preparing it needs"
            f" TensorFlow: {INSTALL}; {ELSEWHERE}"
        )
    import tensorflow

    # TensorFlow would reserve the memory of every GPU it sees, and JAX find none left.
    tensorflow.config.set_visible_devices([], "GPU")
    try:
        builder.download_and_prepare(file_format="array_record")
    # Servers time out, archives change their checksum, some have to be fetched by
    # hand: TFDS raises AssertionError, its own errors and those of requests.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise OSError(
            f"tfds:{name} could not be downloaded and prepared in {builder.data_dir}"
            f" ({type(error).__name__}: {reason}): try again later, or {ELSEWHERE}"
        ) from error
