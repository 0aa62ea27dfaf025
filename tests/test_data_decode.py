"""One file: what every kind of pixel becomes, in closed form, and every reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ddpm_jax.data.decode import Policy
from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.decode import conform
from ddpm_jax.data.decode import conform_all
from ddpm_jax.data.decode import decode
from ddpm_jax.data.decode import upright_size

GRAY, RGB, RGBA = Policy(channels=1), Policy(channels=3), Policy(channels=4)


def encode(image: Image.Image, kind: str = "png", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def test_half_transparent_black_over_white_is_127() -> None:
    data = encode(Image.new("RGBA", (2, 3), (0, 0, 0, 128)))
    assert decode(data, RGB).tolist() == np.full((3, 2, 3), 127).tolist()
    assert decode(data, GRAY).tolist() == np.full((3, 2, 1), 127).tolist()


def test_four_channels_keep_the_transparency() -> None:
    data = encode(Image.new("RGBA", (1, 1), (10, 20, 30, 40)))
    assert decode(data, RGBA)[0, 0].tolist() == [10, 20, 30, 40]
    opaque = encode(Image.new("RGB", (1, 1), (10, 20, 30)))
    assert decode(opaque, RGBA)[0, 0].tolist() == [10, 20, 30, 255]


@pytest.mark.parametrize("mode", ["LA", "P", "L", "RGB", "1"])
def test_every_kind_of_full_transparency_is_white(mode: str) -> None:
    image = (
        Image.new("LA", (2, 2), (50, 0)) if mode == "LA" else Image.new(mode, (2, 2))
    )
    key = {"P": 0, "L": 0, "1": 0, "RGB": (0, 0, 0)}
    options = {"transparency": key[mode]} if mode in key else {}
    assert decode(encode(image, **options), RGB).min() == 255


def test_transparency_goes_before_the_resize() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (255, 0, 0, 255)
    shrunk = decode(encode(Image.fromarray(pixels)), Policy((2, 2), 3))
    # The hidden black of the clear half must not darken the edge.
    assert shrunk[:, 1, 0].min() == 255


def test_palette_without_transparency_keeps_its_colours() -> None:
    image = Image.new("P", (1, 1), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert decode(encode(image), RGB)[0, 0].tolist() == [200, 100, 50]


def test_gray_is_repeated_and_colour_becomes_luminance() -> None:
    gray = encode(Image.new("L", (1, 1), 77))
    assert decode(gray, RGB)[0, 0].tolist() == [77, 77, 77]
    red = encode(Image.new("RGB", (1, 1), (255, 0, 0)))
    assert decode(red, GRAY)[0, 0].tolist() == [round(0.299 * 255)]


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_sixteen_bit_gray_is_scaled_not_cut(kind: str) -> None:
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    got = decode(encode(Image.fromarray(values), kind), GRAY)
    want = np.rint(values.astype(np.float64) * 255 / 65535)
    assert got[:, :, 0].tolist() == want.tolist()


def test_cmyk_becomes_rgb() -> None:
    data = encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "jpeg", quality=100)
    assert np.abs(decode(data, RGB).astype(int) - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_brings_the_marked_corner_up_left(orientation: int) -> None:
    upright = Image.new("L", (2, 3))
    upright.putpixel((0, 0), 255)
    upright.putpixel((1, 0), 100)
    # How a camera stores an upright image under each orientation of the EXIF table.
    stored = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.rotate(180, expand=True),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.rotate(90, expand=True),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.rotate(-90, expand=True),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, exif=exif)
    assert decode(data, GRAY)[:, :, 0].tolist() == [[255, 100], [0, 0], [0, 0]]
    assert upright_size(data) == (3, 2)


def test_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (200, 10, 90)]
    data = encode(frames[0], "gif", save_all=True, append_images=frames[1:])
    assert np.unique(decode(data, GRAY)).tolist() == [200]


def test_size_and_channels_are_those_of_the_policy() -> None:
    data = encode(Image.new("RGB", (40, 20)))
    for channels in (1, 3, 4):
        assert decode(data, Policy((6, 9), channels)).shape == (6, 9, channels)
    assert decode(data, Policy()).shape == (20, 40, 3)


def bomb() -> bytes:
    """A PNG of 57 bytes that claims 20,000 x 20,000 pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


BROKEN = {
    "empty file": b"",
    "not an image": b"hello, this is text",
    "corrupt or truncated": encode(Image.effect_noise((64, 64), 90), "jpeg")[:-900],
    "too large, perhaps a decompression bomb": bomb(),
    "32-bit pixels": encode(Image.new("F", (2, 2), 0.5), "tiff"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_broken_file_is_unusable_for_its_reason(reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        decode(BROKEN[reason], RGB)
    assert str(caught.value) == reason


def test_gray_of_more_than_16_bits_is_refused_whatever_its_values() -> None:
    for value in (70_000, -1, 255):
        with pytest.raises(Unusable, match="32-bit pixels"):
            decode(encode(Image.new("I", (2, 2), value), "tiff"), GRAY)


def test_any_cut_of_a_file_is_unusable_or_decodes_but_never_crashes() -> None:
    image = Image.effect_noise((16, 16), 90).convert("RGB")
    for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp"):
        data = encode(image, kind)
        for end in range(0, len(data), max(1, len(data) // 40)):
            try:
                assert decode(data[:end], RGB).shape == (16, 16, 3)
            except Unusable:
                continue


def test_array_that_conforms_is_returned_without_a_copy() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert conform(pixels, Policy((4, 4), 3)) is pixels
    assert conform(pixels, Policy()) is pixels
    images = pixels[None]
    assert conform_all(images, Policy(None, 3)) is images


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_array_conforms_as_its_lossless_file_would(channels: int) -> None:
    generator = np.random.Generator(np.random.Philox(1))
    images = generator.integers(0, 256, (3, 7, 9, channels), dtype=np.uint8)
    for policy in (Policy((4, 4), 3), Policy((12, 12), 1, "pad"), Policy(None, 4)):
        files = [encode(Image.fromarray(image.squeeze())) for image in images]
        want = np.stack([decode(file, policy) for file in files])
        assert np.array_equal(conform_all(images, policy), want)
