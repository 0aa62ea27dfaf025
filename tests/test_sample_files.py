"""Parts of a draw become one file, whichever parts they came in."""

from pathlib import Path

import numpy as np
import pytest

from ddpm_jax import sample_files

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 3), np.uint8)
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


@pytest.mark.parametrize("cuts", [[0, 20], [0, 7, 8, 20], [0, 2, 9, 15, 20]])
def test_the_file_holds_the_images_in_order_whatever_the_parts(
    tmp_path: Path, cuts: list[int]
) -> None:
    ranges = list(zip(cuts[:-1], cuts[1:], strict=True))
    add(tmp_path, *reversed(ranges))
    path = sample_files.finish(tmp_path, DRAW, 3, 17, (4, 5, 3))
    with np.load(path, allow_pickle=False) as stored:
        assert stored.files == ["arr_0"]
        np.testing.assert_array_equal(stored["arr_0"], IMAGES[3:17])
    assert {p.name for p in tmp_path.iterdir()} == {"samples.npz", "draw.json"}
    assert sample_files.begin(tmp_path, DRAW, 3, 17)
    assert not sample_files.begin(tmp_path, DRAW, 3, 18)


def test_parts_of_another_draw_are_refused_and_kept(tmp_path: Path) -> None:
    add(tmp_path, (0, 5))
    with pytest.raises(ValueError, match="holds a part of another draw") as refused:
        sample_files.begin(tmp_path, DRAW | {"seed": 2}, 0, 20)
    assert "seed: 1 -> 2" in str(refused.value) and "step" not in str(refused.value)
    assert sample_files.gaps(tmp_path, 0, 20) == [range(5, 20)]


def test_a_finished_draw_gives_way_to_another(tmp_path: Path) -> None:
    add(tmp_path, (0, 20))
    sample_files.finish(tmp_path, DRAW, 0, 20, (4, 5, 3))
    assert not sample_files.begin(tmp_path, DRAW | {"seed": 2}, 0, 20)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"not an array"])
def test_a_damaged_part_is_named_and_the_others_stay(
    tmp_path: Path, damage: bytes
) -> None:
    add(tmp_path, (0, 10), (10, 20))
    path = tmp_path / "parts" / "00000010-00000020.npy"
    path.write_bytes(damage)
    with pytest.raises(ValueError, match=f"{path.name} is damaged .* delete it"):
        sample_files.finish(tmp_path, DRAW, 0, 20, (4, 5, 3))
    assert not (tmp_path / "samples.npz").exists()
    path.unlink()
    assert sample_files.gaps(tmp_path, 0, 20) == [range(10, 20)]


def test_a_damaged_record_of_the_draw_is_named(tmp_path: Path) -> None:
    (tmp_path / "draw.json").write_text("{")
    with pytest.raises(ValueError, match="draw.json is damaged; delete it"):
        sample_files.begin(tmp_path, DRAW, 0, 20)
