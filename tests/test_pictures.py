"""Pictures and masks of a person's files; what can't be used is said in a sentence."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpm_jax.data.decode import Policy
from ddpm_jax.pictures import read_mask
from ddpm_jax.pictures import read_pictures

POLICY = Policy((8, 8), 1, "crop")


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def gray(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width), value)


def test_files_come_in_their_order_and_those_of_a_folder_sorted(tmp_path: Path) -> None:
    one = save(tmp_path / "z.png", gray(1))
    for name, value in (("b.png", 3), ("a.png", 2)):
        save(tmp_path / "folder" / name, gray(value, 16, 16))
    pictures = read_pictures([one, tmp_path / "folder"], POLICY)
    assert [path.name for path in pictures.paths] == ["z.png", "a.png", "b.png"]
    assert pictures.images.shape == (3, 8, 8, 1)
    assert pictures.images[:, 0, 0, 0].tolist() == [1, 2, 3]


def test_what_is_no_picture_is_refused_if_named_and_left_out_of_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a.png", gray(1))
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    assert len(read_pictures([tmp_path], POLICY).paths) == 1
    assert "left out" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"notes.txt can't be used: not an image"):
        read_pictures([notes], POLICY)
    with pytest.raises(ValueError, match=r"gone.png can't be read: No such file"):
        read_pictures([tmp_path / "gone.png"], POLICY)


def test_no_pictures_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there is no picture in .*empty"):
        read_pictures([tmp_path / "empty"], POLICY)
    with pytest.raises(ValueError, match="give at least one picture"):
        read_pictures([], POLICY)
    two = [save(tmp_path / name / "a.png", gray(0)) for name in ("x", "y")]
    with pytest.raises(ValueError, match="would be written under one name"):
        read_pictures(two, POLICY)
    with pytest.raises(ValueError, match="x/a.png is given twice; give each picture o"):
        read_pictures([two[0], tmp_path / "x"], POLICY)


def test_a_mask_is_white_from_128_on_and_is_fitted_as_its_picture_is(
    tmp_path: Path,
) -> None:
    values = np.arange(64).reshape(8, 8) * 4
    picture, mask = save(tmp_path / "p.png", gray(0)), save(tmp_path / "m.png", values)
    painted = read_mask(mask, [picture], POLICY)
    assert painted.shape == (8, 8, 1) and painted.dtype == bool
    np.testing.assert_array_equal(painted[..., 0], values >= 128)
    # A wide picture is cropped in the middle, and so is its mask.
    wide = save(tmp_path / "wide.png", gray(0, 8, 16))
    stroke = gray(0, 8, 16)
    stroke[:, 4:8] = 255
    painted = read_mask(save(tmp_path / "w.png", stroke), [wide], POLICY)
    np.testing.assert_array_equal(painted[0, :, 0], [True] * 4 + [False] * 4)


def test_the_margin_of_a_padded_picture_stays(tmp_path: Path) -> None:
    small, stroke = save(tmp_path / "s.png", gray(0, 4, 4)), gray(255, 4, 4)
    stroke[0] = 0
    mask = save(tmp_path / "m.png", stroke)
    for fit in ("pad", "pad_white"):
        painted = read_mask(mask, [small], POLICY._replace(fit=fit))
        assert painted.sum() == 12 and not painted[:3].any()


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (gray(255, 4, 8), r"m.png is 8x4 and .*p.png 8x8 \(WxH\); a mask has the size"),
        (gray(127), "m.png is black all over, so that nothing would be painted"),
        (gray(128), "m.png is white all over, so that nothing would stay"),
    ],
)
def test_a_mask_that_makes_no_sense_is_refused(
    mask: np.ndarray, sentence: str, tmp_path: Path
) -> None:
    picture = save(tmp_path / "p.png", gray(0))
    with pytest.raises(ValueError, match=sentence):
        read_mask(save(tmp_path / "m.png", mask), [picture], POLICY)
