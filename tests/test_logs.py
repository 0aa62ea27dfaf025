"""A run's records: each step once, whatever happened to the process that wrote it."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.event_pb2 import SessionLog

from ddpm_jax.images import enlarge
from ddpm_jax.images import grid
from ddpm_jax.logs import Logs
from ddpm_jax.logs import read_metrics


def events(workdir: Path) -> list[Event]:
    """The events of all event files, in the order of TensorBoard, that of names."""
    files = sorted((workdir / "tensorboard").iterdir())
    return [Event.FromString(data) for f in files for data in records(f.read_bytes())]


def records(file: bytes) -> Iterator[bytes]:
    """TFRecord framing: length (8 bytes), its CRC (4), the data, and their CRC (4)."""
    at = 0
    while at < len(file):
        (length,) = struct.unpack_from("<Q", file, at)
        yield file[at + 12 : at + 12 + length]
        at += 12 + length + 4
    assert at == len(file)


def curve(workdir: Path, name: str) -> dict[int, float]:
    """A curve as TensorBoard shows it: a start drops what has its step or a later."""
    points: dict[int, float] = {}
    for event in events(workdir):
        if event.session_log.status == SessionLog.START:
            points = {step: x for step, x in points.items() if step < event.step}
        for value in event.summary.value:
            if value.tag == name:
                assert event.step not in points
                points[event.step] = value.simple_value
    return points


def steps(workdir: Path) -> list[float]:
    return [line["step"] for line in read_metrics(workdir / "metrics.jsonl")]


def test_scalars_are_a_line_of_json_and_points_of_curves(tmp_path: Path) -> None:
    with Logs(tmp_path, 0) as logs:
        logs.scalars(2, {"loss": 0.5, "images_per_s": 10.0})
        logs.scalars(4, {"loss": 0.25})
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"step": 2, "loss": 0.5, "images_per_s": 10.0},
        {"step": 4, "loss": 0.25},
    ]
    assert curve(tmp_path, "loss") == {2: 0.5, 4: 0.25}
    assert curve(tmp_path, "images_per_s") == {2: 10.0}


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with Logs(tmp_path, 0) as logs:
        logs.scalars(1, {"loss": 1.0})
        assert steps(tmp_path) == [1]


def test_after_a_resume_each_step_is_there_once(tmp_path: Path) -> None:
    with Logs(tmp_path, 0) as logs:
        for step in range(1, 8):
            logs.scalars(step, {"loss": 1.0})
    with Logs(tmp_path, 4) as logs:
        for step in range(5, 10):
            logs.scalars(step, {"loss": 2.0})
    assert steps(tmp_path) == list(range(1, 10))
    expected = dict.fromkeys(range(1, 5), 1.0) | dict.fromkeys(range(5, 10), 2.0)
    assert curve(tmp_path, "loss") == expected
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert losses == list(expected.values())


def test_a_start_from_nothing_drops_all_that_was_there(tmp_path: Path) -> None:
    with Logs(tmp_path, 0) as logs:
        logs.scalars(1, {"loss": 1.0})
    with Logs(tmp_path, 0):
        pass
    assert steps(tmp_path) == []
    assert curve(tmp_path, "loss") == {}


@pytest.mark.parametrize("torn", ['{"step": 3, "lo', "{", '{"step": 3'])
def test_a_half_written_last_line_is_left_out_and_written_over(
    torn: str, tmp_path: Path
) -> None:
    whole = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in whole) + torn)
    assert read_metrics(path) == whole
    with Logs(tmp_path, 3) as logs:
        logs.scalars(4, {"loss": 0.125})
    assert read_metrics(path) == [*whole, {"step": 4, "loss": 0.125}]


def test_a_last_line_without_its_end_of_line_does_not_swallow_the_next(
    tmp_path: Path,
) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}')
    with Logs(tmp_path, 1) as logs:
        logs.scalars(2, {"loss": 0.25})
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_samples_are_a_png_of_their_step_and_a_picture_in_tensorboard(
    channels: int, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, channels), np.uint8)
    with Logs(tmp_path, 0) as logs:
        logs.images(1200, images)
    with Image.open(tmp_path / "samples" / "step_0001200.png") as read:
        pixels = np.asarray(read).reshape(*read.size[::-1], channels)
    np.testing.assert_array_equal(pixels, grid(enlarge(images), gap=4))
    [(step, value)] = [
        (event.step, value)
        for event in events(tmp_path)
        for value in event.summary.value
    ]
    assert (step, value.tag) == (1200, "samples")
    assert (value.image.height, value.image.width) == grid(images).shape[:2]


def test_a_process_that_is_not_the_first_writes_nothing(tmp_path: Path) -> None:
    with Logs(tmp_path, 0, active=False) as logs:
        logs.scalars(1, {"loss": 1.0})
        logs.images(1, np.zeros((1, 8, 8, 1), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_the_files_are_closed_when_the_run_fails(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError), Logs(tmp_path, 0) as logs:
        logs.scalars(1, {"loss": 1.0})
        raise ArithmeticError
    assert logs.file.closed
    assert curve(tmp_path, "loss") == {1: 1.0}
