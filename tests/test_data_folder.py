"""A folder or zip of image files: counts, policy, one order, and its errors."""

import pathlib
import zipfile

import numpy as np
import pytest
from PIL import Image
from test_data_decode import bomb
from test_data_decode import encode

from ddpm_jax.data.decode import Policy
from ddpm_jax.data.folder import load_folder
from ddpm_jax.data.folder import load_zip


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


GOOD = {
    "animated.gif": encode(
        Image.new("L", (9, 7)),
        "gif",
        save_all=True,
        append_images=[Image.new("L", (9, 7), 255)],
    ),
    "cmyk.jpg": encode(Image.new("CMYK", (9, 7), (0, 9, 9, 0)), "jpeg"),
    "deep.png": encode(Image.fromarray(np.full((7, 9), 65535, np.uint16))),
    "gray": encode(Image.new("L", (9, 7), 3), "bmp"),
    "palette.png": encode(Image.new("P", (9, 7), 0), transparency=0),
    "rgba.webp": encode(Image.new("RGBA", (9, 7), (0, 0, 0, 0)), "webp", lossless=True),
    "sub/rotated.jpg": encode(Image.new("L", (7, 9)), "jpeg", exif=orientation(6)),
    "sub/wrong_suffix.txt": encode(Image.new("RGB", (9, 7)), "tiff"),
}
BAD = {
    "bomb.png": bomb(),
    "empty.png": b"",
    "labels.csv": b"name,label\na,1\n",
    "sub/empty.jpg": b"",
    "truncated.jpg": encode(Image.effect_noise((70, 90), 90), "jpeg")[:-900],
}
REASONS = {
    "corrupt or truncated": (1, ("truncated.jpg",)),
    "empty file": (2, ("empty.png", "sub/empty.jpg")),
    "not an image": (1, ("labels.csv",)),
    "too large, perhaps a decompression bomb": (1, ("bomb.png",)),
}


def write(folder: pathlib.Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder)


def pack(path: pathlib.Path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return str(path)


def pixels(images: object) -> np.ndarray:
    return images[np.arange(len(images))]


def test_every_good_file_is_read_and_every_bad_one_counted(
    tmp_path: pathlib.Path,
) -> None:
    path = write(tmp_path / "images", GOOD | BAD)
    source = load_folder(path, Policy((7, 9)), tmp_path / "cache")
    assert source.images.shape == (len(GOOD), 7, 9, 3)
    assert source.skipped == REASONS
    # In the order of their names, and transparency white.
    assert [name for name in sorted(GOOD)] == list(GOOD)
    means = pixels(source.images).mean((1, 2, 3)).round().tolist()
    assert [means[i] for i in (0, 2, 3, 4, 5, 7)] == [0, 255, 3, 255, 255, 0]


def test_unreadable_file_does_not_stop_the_rest(
    tmp_path: pathlib.Path,
) -> None:
    path = write(tmp_path / "images", GOOD)
    (tmp_path / "images" / "dangling.png").symlink_to("nowhere")
    source = load_folder(path, Policy((7, 9)), tmp_path / "cache")
    assert len(source.images) == len(GOOD)
    assert source.skipped == {"unreadable": (1, ("dangling.png",))}


@pytest.mark.parametrize("policy", [Policy((4, 4), 1), Policy((8, 8), 4, "pad")])
def test_zip_is_the_folder_it_was_made_from(
    tmp_path: pathlib.Path, policy: Policy
) -> None:
    files = GOOD | BAD
    folder = load_folder(write(tmp_path / "images", files), policy, tmp_path / "cache")
    archive = load_zip(pack(tmp_path / "a.zip", files), policy, tmp_path / "cache")
    assert archive.skipped == folder.skipped
    assert np.array_equal(pixels(archive.images), pixels(folder.images))


def test_one_size_of_all_images_is_found_upright(tmp_path: pathlib.Path) -> None:
    good = {name: data for name, data in GOOD.items() if name != "cmyk.jpg"}
    source = load_zip(pack(tmp_path / "a.zip", good), Policy(), tmp_path / "cache")
    assert source.images.shape == (len(good), 7, 9, 3)


def test_several_sizes_are_listed_and_image_size_asked_for(
    tmp_path: pathlib.Path,
) -> None:
    files = {f"{i}.png": encode(Image.new("L", (4, 3 + i // 2))) for i in range(3)}
    path = write(tmp_path / "images", files)
    with pytest.raises(ValueError) as caught:
        load_folder(path, Policy(), tmp_path / "cache")
    assert str(caught.value) == (
        f"{path} holds images of 2 sizes (HxW): 3x4 (2), 4x4 (1);"
        " set data.image_size to bring them to one"
    )


@pytest.mark.parametrize("policy", [Policy(), Policy((8, 8))])
def test_folder_without_an_image_is_refused_with_the_reasons(
    tmp_path: pathlib.Path, policy: Policy
) -> None:
    path = write(tmp_path / "images", {"a.txt": b"text", "b.png": b""})
    with pytest.raises(ValueError) as caught:
        load_folder(path, policy, tmp_path / "cache")
    assert str(caught.value) == (
        f"no usable image in {path}: skipped 1 (empty file): b.png;"
        " skipped 1 (not an image): a.txt"
    )


def test_empty_folder_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="no usable image in .*: it holds no files"):
        load_folder(str(tmp_path), Policy((8, 8)), tmp_path / "cache")


def test_image_changed_in_place_is_read_again(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "images", {"a.png": encode(Image.new("L", (2, 2), 1))})
    for value in (1, 200):
        data = encode(Image.new("L", (2, 2), value))
        (tmp_path / "images" / "a.png").write_bytes(data)
        source = load_folder(path, Policy(), tmp_path / "cache")
        assert np.unique(pixels(source.images)).tolist() == [value]


def test_order_is_that_of_the_names_not_of_the_archive(tmp_path: pathlib.Path) -> None:
    files = {f"{i}.png": encode(Image.new("L", (2, 2), i)) for i in range(12)}
    backwards = dict(reversed(files.items()))
    path = pack(tmp_path / "a.zip", backwards)
    source = load_zip(path, Policy(channels=1), tmp_path / "cache")
    values = pixels(source.images)[:, 0, 0, 0].tolist()
    assert values == [int(name[:-4]) for name in sorted(files)]
