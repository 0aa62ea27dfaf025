"""Statistics of paired times: medians, spreads, and the interval of a median ratio.

Times of one round are compared with each other and with no other round's, so what
slows a machine for minutes slows both sides of a ratio.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Ratio(NamedTuple):
    """A median ratio and its interval, which is None if there are too few rounds."""

    median: float
    low: float | None
    high: float | None


def median_ratio(times: Sequence[float], reference: Sequence[float]) -> Ratio:
    """The median over rounds of time / reference time, and its 95 % interval.

    Example:
        >>> median_ratio([2.0, 3.0, 8.0], [1.0, 1.0, 2.0]).median
        3.0
    """
    ratios = [a / b for a, b in zip(times, reference, strict=True)]
    return Ratio(float(np.median(ratios)), *sign_interval(ratios))


def sign_interval(
    values: Sequence[float], level: float = 0.95
) -> tuple[float, float] | tuple[None, None]:
    """The interval of a median by the sign test: exact, whatever the distribution.

    It runs from the k-th smallest to the k-th largest value, with the largest k for
    which the median lies outside with a probability of at most 1 - level:
    2 P(Binomial(n, 1/2) < k) <= 1 - level. With fewer than 6 values there is no such
    interval of 95 %.

    Example:
        >>> sign_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        (1.0, 6.0)
    """
    n, k, outside = len(values), 0, 0.0
    while k <= n:
        outside += 2 * math.comb(n, k) / 2**n
        if outside > 1 - level:
            break
        k += 1
    if k == 0:
        return None, None
    ordered = sorted(values)
    return ordered[k - 1], ordered[n - k]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower quartile, the median and the upper quartile.

    Example:
        >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
        (2.0, 3.0, 4.0)
    """
    low, median, high = np.percentile(values, [25, 50, 75])
    return float(low), float(median), float(high)
