"""Runs the real CIFAR-10 builder of TFDS on a small archive made up here.

The archive lies where TFDS keeps its downloads, so that nothing is fetched; from
there on all is real: TensorFlow unpacks it, TFDS parses and prepares it, and
`ddpm_jax.data.load` must return the very pixels that went in.
"""

import io
import json
import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np

FOLDER = "cifar-10-batches-bin"
BATCHES = (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")
LABELS = "airplane automobile bird cat deer dog frog horse ship truck".split()
PER_BATCH = 10


def make_images() -> np.ndarray:
    """Returns noise, uint8 [6, 10, 32, 32, 3]; the last batch is the test split."""
    shape = (len(BATCHES), PER_BATCH, 32, 32, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def write_archive(path: Path, images: np.ndarray) -> None:
    """Writes CIFAR-10's binary version: per image a label byte, then [3, 32, 32]."""
    files = {f"{FOLDER}/batches.meta.txt": "\n".join(LABELS).encode()}
    for name, batch in zip(BATCHES, images, strict=True):
        pixels = batch.transpose(0, 3, 1, 2).reshape(PER_BATCH, -1)
        labels = np.arange(PER_BATCH, dtype=np.uint8)[:, None]
        files[f"{FOLDER}/{name}.bin"] = np.concatenate([labels, pixels], 1).tobytes()
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def put_into_downloads(folder: Path, images: np.ndarray) -> None:
    """Puts the archive where the builder of CIFAR-10 looks before it downloads."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import resource

    tfds.disable_progress_bar()
    ((url, info),) = tfds.builder("cifar10", data_dir=folder).url_infos.items()
    path = folder / "downloads" / resource.get_dl_fname(url, info.checksum)
    path.parent.mkdir()
    write_archive(path, images)
    path.with_name(f"{path.name}.INFO").write_text(json.dumps({"urls": [url]}))


def check(name: str, loaded: np.ndarray, expected: np.ndarray) -> None:
    """Holds two sets of images equal; TFDS shuffles, so their order is free."""
    loaded_bytes = sorted(image.tobytes() for image in loaded)
    expected_bytes = sorted(image.tobytes() for image in expected)
    assert loaded.shape[1:] == (32, 32, 3), f"{name}: images of {loaded.shape[1:]}"
    assert loaded_bytes == expected_bytes, f"{name}: the pixels have changed"
    print(f"tfds:cifar10 {name}: {len(loaded)} images, equal to the archive's")


def main() -> None:
    """Prepares and loads in a temporary folder, and compares."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TFDS_DATA_DIR"] = name
        images = make_images()
        put_into_downloads(folder, images)

        from ddpm_jax import data

        dataset = data.load("tfds:cifar10", cache_dir=str(folder / "cache"))
        train = dataset.train[np.arange(len(dataset.train))]
        held_out = dataset.held_out[np.arange(len(dataset.held_out))]
        check("train", train, images[:-1].reshape(-1, 32, 32, 3))
        check("test", held_out, images[-1])


if __name__ == "__main__":
    main()
