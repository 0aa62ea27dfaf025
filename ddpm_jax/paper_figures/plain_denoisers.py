"""What takes noise off a picture and was never trained: scikit-image's, and how well.

Each is tried with a small grid of its one parameter and judged at its best, which a
person who does not have the clean picture could not know: it is in their favour.
"""

from collections.abc import Callable
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

HOW = 'pip install "ddpm_jax[figures]"'

# (noisy float64 [H, W, C], deviation of the noise, parameter) -> [H, W, C]
Method = Callable[[np.ndarray, float, float], np.ndarray]


class Tried(NamedTuple):
    """A method at the parameter that served it best."""

    images: np.ndarray  # [N, H, W, C]
    parameter: float
    psnr: float  # dB, the mean over the images


def gaussian_filter(image: np.ndarray, noise: float, width: float) -> np.ndarray:
    """The mean of the pixels around, by a normal of width pixels."""
    from skimage.filters import gaussian

    smooth: np.ndarray = gaussian(image, sigma=width, channel_axis=-1)
    return smooth


def wavelet(image: np.ndarray, noise: float, share: float) -> np.ndarray:
    """BayesShrink of wavelet coefficients, for share of the noise that there is.

    RGB is divided into light and colour, which gains 1 to 2 dB on photographs.
    """
    from skimage.restoration import denoise_wavelet

    colours = image.shape[-1] == 3
    unit = (image + 1) / 2  # the range for which the colours are converted
    found: np.ndarray = denoise_wavelet(
        unit if colours else unit[..., 0],
        sigma=noise * share / 2,
        convert2ycbcr=colours,
        channel_axis=-1 if colours else None,
    )
    return 2 * found.reshape(image.shape) - 1


def non_local_means(image: np.ndarray, noise: float, share: float) -> np.ndarray:
    """Non-local means of 3x3 patches; share of the noise is how far they may differ."""
    from skimage.restoration import denoise_nl_means

    found: np.ndarray = denoise_nl_means(
        image,
        patch_size=3,
        patch_distance=6,
        h=share * noise,
        sigma=noise,
        fast_mode=True,
        channel_axis=-1,
    )
    return found.reshape(image.shape)


METHODS: dict[str, tuple[Method, tuple[float, ...]]] = {
    "Gaussian filter": (gaussian_filter, (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0)),
    "wavelet": (wavelet, (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)),
    "non-local means": (non_local_means, (0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7)),
}
"""By name: a function, and the values of its parameter that are tried."""


def psnr(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio [N] in dB of images [N, ...] in the scale of [-1, 1].

    20 log10(2 / RMSE): the peak is the width of the scale.

    Example:
      >>> psnr(np.full((1, 4), 0.2), np.zeros((1, 4))).round(6).tolist()
      [20.0]
    """
    error = np.square(np.asarray(images, np.float64) - truth)
    with np.errstate(divide="ignore"):  # no error: infinite
        ratio: np.ndarray = 10 * np.log10(4 / error.reshape(len(error), -1).mean(1))
    return ratio


def best_of(name: str, noisy: np.ndarray, truth: np.ndarray, noise: float) -> Tried:
    """A method's answers to noisy images [N, H, W, C], at its best parameter.

    Raises:
      ModuleNotFoundError: without scikit-image; says how to install it.
    """
    method, parameters = METHODS[name]
    return max(_tries(method, parameters, noisy, truth, noise), key=lambda x: x.psnr)


def _tries(
    method: Method,
    parameters: Iterable[float],
    noisy: np.ndarray,
    truth: np.ndarray,
    noise: float,
) -> Iterable[Tried]:
    for parameter in parameters:
        found = [method(image, noise, parameter) for image in noisy]
        images = np.clip(np.stack(found), -1, 1)
        yield Tried(images, parameter, float(psnr(images, truth).mean()))


def check_installed() -> None:
    """Raises ModuleNotFoundError, with what installs it, if a library is missing."""
    try:
        import pywt  # noqa: F401, which scikit-image needs for wavelets
        import skimage  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is missing, which the plain denoisers need: {HOW}"
        ) from None
