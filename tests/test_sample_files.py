"""Parts of a draw become one file, whichever parts they came in."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from ddpm_jax import sample_files

SHAPE = (4, 5, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (20, *SHAPE), np.uint8)
DRAW = {"seed": 1, "step": 100}


def add(out: Path, *ranges: tuple[int, int]) -> None:
    sample_files.begin(out, DRAW, 0, 20)
    for start, stop in ranges:
        sample_files.add(out, start, IMAGES[start:stop])


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ([], [range(3, 17)]),
        ([(3, 17)], []),
        ([(0, 5), (9, 11)], [range(5, 9), range(11, 17)]),
        ([(0, 20)], []),
        ([(4, 6), (5, 9)], [range(3, 4), range(9, 17)]),
        ([(17, 19)], [range(3, 17)]),
    ],
)
def test_gaps_are_what_no_part_holds(
    tmp_path: Path, there: list[tuple[int, int]], missing: list[range]
) -> None:
    add(tmp_path, *there)
    assert sample_files.gaps(tmp_path, 3, 17) == missing


@pytest.mark.parametrize("cuts", [[3, 17], [3, 7, 8, 17], [3, 5, 9, 15, 17]])
def test_the_file_holds_the_images_in_order_whatever_the_parts(
    tmp_path: Path, cuts: list[int]
) -> None:
    ranges = list(zip(cuts[:-1], cuts[1:], strict=True))
    add(tmp_path, *reversed(ranges))
    assert not sample_files.is_finished(tmp_path, DRAW, 3, 17)
    path = sample_files.finish(tmp_path, DRAW, 3, 17, SHAPE)
    with np.load(path, allow_pickle=False) as stored:
        assert stored.files == ["arr_0"]
        np.testing.assert_array_equal(stored["arr_0"], IMAGES[3:17])
    assert {p.name for p in tmp_path.iterdir()} == {"samples.npz", "draw.json"}
    assert sample_files.is_finished(tmp_path, DRAW, 3, 17)
    assert not sample_files.is_finished(tmp_path, DRAW, 3, 18)
    assert not sample_files.is_finished(tmp_path, DRAW | {"seed": 2}, 3, 17)


def refused(out: Path, sentence: str, draw: dict = DRAW, *images: int) -> None:
    """Asserts that begin refuses, and leaves every file as it was."""
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=sentence):
        sample_files.begin(out, draw, *(images or (0, 20)))
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_parts_of_another_draw_are_refused_and_kept(tmp_path: Path) -> None:
    add(tmp_path, (0, 5))
    refused(tmp_path, "holds a part of another draw.*\n  seed: 1 -> 2$", {"seed": 2})


def test_a_folder_of_parts_without_parts_is_in_nobodys_way(tmp_path: Path) -> None:
    add(tmp_path)
    sample_files.begin(tmp_path, DRAW | {"seed": 2}, 0, 20)
    assert sample_files.read_draw(tmp_path / "parts")["seed"] == 2


def test_parts_that_nothing_describes_are_refused_and_kept(tmp_path: Path) -> None:
    add(tmp_path, (0, 5))
    (tmp_path / "parts" / "draw.json").unlink()
    refused(tmp_path, "no draw.json in it that says of what draw it is")


@pytest.mark.parametrize("images", [(0, 15), (5, 20), (20, 30)])
def test_parts_outside_of_what_is_asked_for_are_refused_and_kept(
    tmp_path: Path, images: tuple[int, int]
) -> None:
    add(tmp_path, (0, 6), (10, 20))
    refused(tmp_path, "of an unfinished draw, and .* are asked for", DRAW, *images)


def test_a_draw_may_grow_while_it_is_unfinished(tmp_path: Path) -> None:
    add(tmp_path, (0, 20))
    sample_files.begin(tmp_path, DRAW, 0, 30)
    assert sample_files.gaps(tmp_path, 0, 30) == [range(20, 30)]


def test_a_finished_file_stays_until_another_draw_has_finished(tmp_path: Path) -> None:
    add(tmp_path, (0, 20))
    path = sample_files.finish(tmp_path, DRAW, 0, 20, SHAPE)
    before = path.read_bytes()
    sample_files.begin(tmp_path, DRAW | {"seed": 2}, 0, 20)
    assert path.read_bytes() == before
    assert sample_files.is_finished(tmp_path, DRAW, 0, 20)


def test_a_kill_while_the_parts_go_loses_nothing(tmp_path: Path) -> None:
    add(tmp_path, (0, 10), (10, 20))
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "parts", kept)
    sample_files.finish(tmp_path, DRAW, 0, 20, SHAPE)
    shutil.copytree(kept, tmp_path / "parts")
    (tmp_path / "parts" / "00000000-00000010.npy").unlink()
    assert sample_files.is_finished(tmp_path, DRAW, 0, 20)
    sample_files.remove_parts(tmp_path)
    assert not (tmp_path / "parts").exists()


def test_what_is_not_a_part_is_never_deleted(tmp_path: Path) -> None:
    add(tmp_path, (0, 20))
    note = tmp_path / "parts" / "note.txt"
    note.write_text("mine")
    sample_files.finish(tmp_path, DRAW, 0, 20, SHAPE)
    assert [p.name for p in (tmp_path / "parts").iterdir()] == ["note.txt"]


def test_drafts_of_a_killed_process_go(tmp_path: Path) -> None:
    add(tmp_path, (0, 5))
    drafts = [tmp_path / "samples.npz.0a1b.partial", tmp_path / "parts/x.npy.1.partial"]
    for draft in drafts:
        draft.write_bytes(b"half")
    sample_files.begin(tmp_path, DRAW, 0, 20)
    assert not any(draft.exists() for draft in drafts)


@pytest.mark.parametrize(
    "damage", [b"", b"\x93NUMPY", b"not an array", "other shape", "other type"]
)
def test_a_damaged_part_is_named_and_the_others_stay(
    tmp_path: Path, damage: bytes | str
) -> None:
    add(tmp_path, (0, 10), (10, 20))
    path = tmp_path / "parts" / "00000010-00000020.npy"
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    elif damage == "other shape":
        np.save(path, IMAGES[:9])
    else:
        np.save(path, IMAGES[:10].astype(float))
    with pytest.raises(ValueError, match=f"{path.name} is damaged .* delete it"):
        sample_files.finish(tmp_path, DRAW, 0, 20, SHAPE)
    assert not (tmp_path / "samples.npz").exists()
    path.unlink()
    assert sample_files.gaps(tmp_path, 0, 20) == [range(10, 20)]


@pytest.mark.parametrize("gap", [(0, 5), (8, 12), (15, 20)])
def test_a_missing_image_is_named_and_no_file_is_made(
    tmp_path: Path, gap: tuple[int, int]
) -> None:
    add(tmp_path, *(r for r in [(0, gap[0]), (gap[1], 20)] if r[0] < r[1]))
    with pytest.raises(ValueError, match=f"image {gap[0]} is in no file"):
        sample_files.finish(tmp_path, DRAW, 0, 20, SHAPE)
    assert not (tmp_path / "samples.npz").exists()


def test_a_damaged_record_of_the_draw_is_named(tmp_path: Path) -> None:
    add(tmp_path, (0, 5))
    (tmp_path / "parts" / "draw.json").write_text("{")
    refused(tmp_path, "draw.json is damaged; delete")
