"""One image file, or one array, becomes uint8 [H, W, C] by a stated policy.

Files in the wild are rotated by EXIF, animated, 16 bits deep, CMYK, transparent or
broken. What each of these becomes is decided here and nowhere else:

- EXIF rotation is applied; of an animation the first frame counts;
- 16-bit gray v becomes round(v * 255 / 65535);
- 1 channel is ITU-R 601 luminance, 3 is RGB, both composited over white where the
  image is transparent; 4 is RGBA, kept;
- then the size, by one of FITS.

A file that cannot be used raises Unusable, whose message is the reason in the report.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from typing import NamedTuple

import numpy as np

from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.fit import FITS

if TYPE_CHECKING:
    from PIL import Image

MODES = {1: "L", 3: "RGB", 4: "RGBA"}

EMPTY = "empty file"
NOT_AN_IMAGE = "not an image"
CORRUPT = "corrupt or truncated"
TOO_LARGE = "too large, perhaps a decompression bomb"
UNREADABLE = "unreadable"
ENCRYPTED = "encrypted zip member"
TOO_DEEP = "32-bit pixels"


class Policy(NamedTuple):
    """What every image of a data set is brought to.

    None leaves the size or the number of channels as the source has it; files have no
    one number of channels, and None means 3 for them.
    """

    image_size: tuple[int, int] | None = None  # (height, width)
    channels: int | None = None  # 1, 3 or 4
    fit: str = "crop"  # a key of FITS


class Unusable(Exception):
    """An image that cannot be used; the message is the reason."""


def decode(data: bytes, policy: Policy) -> UInt8:
    """Decodes one image file to uint8 [H, W, C].

    Raises:
        Unusable: the bytes are empty, no image, corrupt, or decode to too much.

    Example:
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGBA", (2, 2), (0, 0, 0, 128)).save(file, "png")
        >>> decode(file.getvalue(), Policy(channels=1))[0, 0].tolist()
        [127]
    """
    from PIL import ImageOps

    image = open_image(data)
    try:
        _check_depth(image)
        image = _eight_bits(ImageOps.exif_transpose(image))
        return _to_array(image, policy, policy.channels or 3)
    except Unusable:
        raise
    # Pillow's decoders raise whatever a broken file leads them to, struct.error and
    # IndexError included: one bad file must not end the run.
    except Exception as error:
        raise Unusable(CORRUPT) from error


def open_image(data: bytes) -> Image.Image:
    """Reads the header of one image file; raises Unusable where there is none.

    Example:
        >>> open_image(b"hello")
        Traceback (most recent call last):
        ddpm_jax.data.decode.Unusable: not an image
    """
    from PIL import Image
    from PIL import UnidentifiedImageError

    if not data:
        raise Unusable(EMPTY)
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        raise Unusable(NOT_AN_IMAGE) from error
    except Image.DecompressionBombError as error:
        raise Unusable(TOO_LARGE) from error
    except Exception as error:
        raise Unusable(CORRUPT) from error


def upright_size(data: bytes) -> tuple[int, int]:
    """(height, width) of an image file as shown, from its header alone.

    Example:
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("L", (2, 3)).save(file, "png")
        >>> upright_size(file.getvalue())
        (3, 2)
    """
    from PIL import ExifTags

    image = open_image(data)
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except Exception as error:
        raise Unusable(CORRUPT) from error
    return (image.width, image.height) if turned else (image.height, image.width)


def conform(pixels: UInt8, policy: Policy) -> UInt8:
    """Brings one uint8 array [H, W, C] to the policy's size and channels.

    C must be 1, 3 or 4. Pixels that already conform are returned as they are.

    Example:
        >>> conform(np.zeros((28, 28, 1), np.uint8), Policy((32, 32), 3, "pad")).shape
        (32, 32, 3)
    """
    from PIL import Image

    channels = policy.channels or pixels.shape[2]
    if pixels.shape == (*(policy.image_size or pixels.shape[:2]), channels):
        return pixels
    squeezed = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return _to_array(Image.fromarray(squeezed), policy, channels)


def conform_all(images: UInt8, policy: Policy) -> UInt8:
    """Brings uint8 images [N, H, W, C] to the policy's size and channels.

    Example:
        >>> conform_all(np.zeros((5, 8, 8, 1), np.uint8), Policy((4, 6))).shape
        (5, 4, 6, 1)
    """
    height, width = policy.image_size or images.shape[1:3]
    if images.shape[1:] == (height, width, policy.channels or images.shape[3]):
        return images
    return np.stack([conform(image, policy) for image in images])


def _check_depth(image: Image.Image) -> None:
    """Raises Unusable for a TIFF of 32-bit whole numbers, whatever their values."""
    from PIL import ExifTags

    # In Pillow's mode "I" they look like the 16 bits that other formats open as, and a
    # turned copy of the image has no tags.
    tags = getattr(image, "tag_v2", {})
    if image.mode == "I" and max(tags.get(ExifTags.Base.BitsPerSample, (16,))) > 16:
        raise Unusable(TOO_DEEP)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scales 16-bit gray to 8 bits; other modes pass."""
    from PIL import Image

    if image.mode == "F":
        raise Unusable(TOO_DEEP)
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    # Mode "I" is what some formats call 16-bit gray, but it can hold 32 bits.
    if values.min() < 0 or values.max() > 65535:
        raise Unusable(TOO_DEEP)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _to_array(image: Image.Image, policy: Policy, channels: int) -> UInt8:
    """Applies the channels, then the size: transparency must go before a resize."""
    mode = MODES[channels]
    if image.has_transparency_data and mode != "RGBA":
        image = _over_white(image)
    image = image.convert(mode)
    if policy.image_size is not None:
        image = FITS[policy.fit](image, *policy.image_size)
    pixels = np.asarray(image)
    return pixels.reshape(image.height, image.width, channels)


def _over_white(image: Image.Image) -> Image.Image:
    """Composites an image with any kind of transparency over white."""
    from PIL import Image

    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")
