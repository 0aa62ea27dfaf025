"""The samplers again, as their papers print them: float64 NumPy, loops, no tables.

Nothing here imports ddpm_jax. Levels are (t, alpha, sigma), S + 1 of them; ask(x,
level) returns x_0 and eps; z(number) is the noise of a step.
"""

from collections.abc import Callable

import numpy as np

Level = tuple[float, float, float]
Ask = Callable[[np.ndarray, Level], tuple[np.ndarray, np.ndarray]]
Noise = Callable[[int], np.ndarray]


def make_levels(log_alpha_bar: Callable[[float], float], times: list) -> list[Level]:
    """The levels of times, of which -1 is the image without noise."""
    table = [(t, float(log_alpha_bar(t))) for t in times]
    return [(t, np.exp(0.5 * log), np.sqrt(-np.expm1(log))) for t, log in table]


def make_ask(
    model: Callable[[np.ndarray, float], np.ndarray],
    clip: bool = True,
    threshold: float | None = None,
) -> Ask:
    """Of a model of eps: x_0, kept in range, and the eps that goes with it."""

    def ask(x: np.ndarray, level: Level) -> tuple[np.ndarray, np.ndarray]:
        t, alpha, sigma = level
        x_0 = (x - sigma * model(x, t)) / alpha
        if threshold is not None:
            for i, image in enumerate(x_0):
                scale = max(1.0, np.quantile(np.abs(image), threshold))
                x_0[i] = np.clip(image, -scale, scale) / scale
        elif clip:
            x_0 = np.clip(x_0, -1, 1)
        return x_0, (x - alpha * x_0) / sigma

    return ask


def ancestral(
    ask: Ask, z: Noise, x: np.ndarray, levels: list[Level], large: bool
) -> np.ndarray:
    """Bayes: the prior N(alpha_s x_0, sigma_s^2) times the likelihood of x_t."""
    for now, (_, alpha, sigma) in zip(levels[:-1], levels[1:], strict=True):
        x_0, _ = ask(x, now)
        shrink = now[1] / alpha
        beta = now[2] ** 2 - shrink**2 * sigma**2
        if sigma == 0:
            return x_0
        precision = 1 / sigma**2 + shrink**2 / beta
        mean = (alpha * x_0 / sigma**2 + shrink * x / beta) / precision
        x = mean + np.sqrt(beta if large else 1 / precision) * z(now[0])
    return x


def ddim(
    ask: Ask, z: Noise, x: np.ndarray, levels: list[Level], eta: float
) -> np.ndarray:
    """Song et al. (2021), Eq. 12 with the sigma of Eq. 16."""
    for now, (_, alpha, sigma) in zip(levels[:-1], levels[1:], strict=True):
        x_0, eps = ask(x, now)
        deviation = eta * sigma / now[2] * np.sqrt(1 - now[1] ** 2 / alpha**2)
        x = alpha * x_0 + np.sqrt(sigma**2 - deviation**2) * eps
        x = x + (deviation * z(now[0]) if deviation > 0 else 0)
    return x


def edm(
    ask: Ask,
    z: Noise,
    x: np.ndarray,
    levels: list[Level],
    churned: list[Level],
    noise: float = 1.003,
) -> np.ndarray:
    """Karras et al. (2022), Algorithm 2 with s = 1; churned are the levels of t_hat."""
    y = x / levels[0][1]
    for now, hat, after in zip(levels[:-1], churned, levels[1:], strict=True):
        s, s_hat, s_next = (level[2] / level[1] for level in (now, hat, after))
        if s_hat > s:
            y = y + noise * np.sqrt(s_hat**2 - s**2) * z(now[0])
        slope = (y - ask(hat[1] * y, hat)[0]) / s_hat
        end = y + (s_next - s_hat) * slope
        if after[0] >= 0:
            slope_next = (end - ask(after[1] * end, after)[0]) / s_next
            end = y + (s_next - s_hat) * (slope + slope_next) / 2
        y = end
    return levels[-1][1] * y


def churned(
    nodes: np.ndarray,
    levels: list[Level],
    churn: float,
    between: tuple[float, float],
    whole: bool,
) -> list[float]:
    """The t_hat of Algorithm 2, at most T - 1; nodes are log alpha_bar at -1..T-1.

    A model of whole t is asked at the nearest, and never below t.
    """
    times, known = [], np.arange(len(nodes)) - 1.0
    for t, alpha, sigma in levels[:-1]:
        s = sigma / alpha
        gamma = min(churn / (len(levels) - 1), 2**0.5 - 1)
        if gamma == 0 or not between[0] <= s <= between[1]:
            times.append(t)
            continue
        t_hat = np.interp(np.log1p((s * (1 + gamma)) ** 2), -nodes, known)
        nearest = known[np.abs(known - t_hat).argmin()]
        times.append(max(t, int(nearest) if whole else t_hat))
    return times


def dpmpp(ask: Ask, x: np.ndarray, levels: list[Level], order: int) -> np.ndarray:
    """Lu et al. (2022b), with lower-order final steps and the third order corrected."""
    seen: list[np.ndarray] = []
    for i in range(len(levels) - 1):
        seen.insert(0, ask(x, levels[i])[0])
        n = min(order, i + 1, len(levels) - 1 - i)
        x = x * levels[i + 1][2] / levels[i][2] + added(levels, i, seen[:n])
    return x


def unipc(ask: Ask, x: np.ndarray, levels: list[Level], order: int) -> np.ndarray:
    """Zhao et al. (2023): predict, ask, correct, with lower orders at both ends."""
    seen: list[np.ndarray] = []
    before, n = x, 0
    for i in range(len(levels) - 1):
        newest = ask(x, levels[i])[0]
        if i > 0:
            x = before * levels[i][2] / levels[i - 1][2]
            x = x + added(levels, i - 1, seen[:n], newest)
        seen.insert(0, newest)
        n = min(order, i + 1, len(levels) - 1 - i)
        before = x
        x = x * levels[i + 1][2] / levels[i][2] + added(levels, i, seen[:n])
    return x


def added(
    levels: list[Level],
    i: int,
    seen: list[np.ndarray],
    newest: np.ndarray | None = None,
) -> np.ndarray:
    """sigma_s times the integral of e^lambda x_0(lambda) over step i, to level s.

    x_0(lambda) is the polynomial through what was seen, the last first, and through the
    newest at the end of the step. Where that is a line, its slope weighs h / 2 in units
    of the constant's weight, which is how both papers simplify the integral.
    """
    (_, alpha, sigma), (_, alpha_s, sigma_s) = levels[i], levels[i + 1]
    constant = alpha_s - alpha * sigma_s / sigma
    if newest is None and len(seen) == 1:
        return constant * seen[0]
    ratio = [np.log(alpha / sigma) for _, alpha, sigma in levels[: i + 2] if sigma > 0]
    where, values = ratio[i::-1][: len(seen)], list(seen)
    if newest is not None:
        where, values = [ratio[i + 1], *where], [newest, *values]
    h = ratio[i + 1] - ratio[i]
    if len(values) == 2:
        slope = (values[0] - values[1]) / (where[0] - where[1])
        return constant * (seen[0] + slope * h / 2)
    u, w = np.polynomial.legendre.leggauss(30)
    at = ratio[i] + h * (u + 1) / 2
    total = np.zeros_like(seen[0])
    for k, value in enumerate(values):
        others = [node for j, node in enumerate(where) if j != k]
        lagrange = np.prod([(at - node) / (where[k] - node) for node in others], axis=0)
        total += sigma_s * (np.exp(at) * lagrange * w * h / 2).sum() * value
    return total
