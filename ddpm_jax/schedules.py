"""How much noise each step adds: the betas, and the tables that follow from them.

A beta schedule is a function of T that returns float64 betas [T]. `make_schedule` turns
betas into a `Schedule`, the [T] tables that everything else gathers from. The tables
are computed in float64 and stored in float32: forming sqrt(1 - alpha_bar) in float32
would be off by 1e-4 of its value at t = 0.

t counts from 0: t = 0 is one step of noise, the paper's t = 1 (Ho et al. 2020).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Schedule:
    """Tables [T] in float32, indexed by t in 0..T-1; a pytree, so it may be traced.

    alpha = 1 - beta, alpha_bar = cumprod(alpha); beta~ is the variance of the posterior
    q(x_{t-1} | x_t, x_0), Eq. 7 of Ho et al. (2020).

    Example:
      >>> schedule = make_schedule([0.2, 0.5])
      >>> print(schedule.num_timesteps, schedule.alphas_cumprod)
      2 [0.8 0.4]
    """

    betas: jax.Array  # beta_t
    alphas_cumprod: jax.Array  # alpha_bar_t
    alphas_cumprod_prev: jax.Array  # alpha_bar_{t-1}, and 1 at t = 0
    sqrt_alphas_cumprod: jax.Array
    sqrt_one_minus_alphas_cumprod: jax.Array
    posterior_mean_x_0: jax.Array  # coefficient of x_0 in Eq. 7
    posterior_mean_x_t: jax.Array  # coefficient of x_t in Eq. 7
    posterior_variance: jax.Array  # beta~_t
    log_variance_small: jax.Array  # log beta~, with beta~_1 in place of beta~_0 = 0
    log_variance_large: jax.Array  # log beta, with beta~_1 at t = 0
    # alpha_bar_{T-1} = 0; static, so that it is known under jit
    ends_in_noise: bool = dataclasses.field(metadata={"static": True})

    @property
    def num_timesteps(self) -> int:
        """T."""
        return int(self.betas.shape[0])


def check_num_timesteps(num_timesteps: int) -> None:
    """Raises ValueError unless num_timesteps is an integer of at least 1."""
    if isinstance(num_timesteps, bool) or not isinstance(num_timesteps, int):
        raise ValueError(f"num_timesteps is {num_timesteps!r}; give a whole number")
    if num_timesteps < 1:
        raise ValueError(f"num_timesteps is {num_timesteps}; give at least 1")


def linear_beta_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> np.ndarray:
    """Betas [T] on a straight line: the paper's own (Sec. 4).

    Example:
      >>> linear_beta_schedule(1000)[[0, -1]]
      array([0.0001, 0.02  ])
    """
    check_num_timesteps(num_timesteps)
    return np.linspace(beta_start, beta_end, num_timesteps, dtype=np.float64)


def quad_beta_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> np.ndarray:
    """Betas [T] whose square roots are on a straight line.

    Example:
      >>> np.sqrt(quad_beta_schedule(3, 0.01, 0.09)).round(6)
      array([0.1, 0.2, 0.3])
    """
    check_num_timesteps(num_timesteps)
    roots = np.linspace(
        np.sqrt(beta_start), np.sqrt(beta_end), num_timesteps, dtype=np.float64
    )
    return roots**2


def warmup_beta_schedule(
    num_timesteps: int, beta_start: float, beta_end: float, fraction: float
) -> np.ndarray:
    """Betas [T] that rise in a straight line over a fraction of the steps, then stay.

    Example:
      >>> warmup_beta_schedule(6, 0.1, 0.3, 0.5)
      array([0.1, 0.2, 0.3, 0.3, 0.3, 0.3])
    """
    check_num_timesteps(num_timesteps)
    betas = np.full(num_timesteps, beta_end, dtype=np.float64)
    rise = int(num_timesteps * fraction)
    betas[:rise] = np.linspace(beta_start, beta_end, rise, dtype=np.float64)
    return betas


def warmup10_beta_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> np.ndarray:
    """Betas [T] that rise over the first tenth of the steps, then stay."""
    return warmup_beta_schedule(num_timesteps, beta_start, beta_end, 0.1)


def warmup50_beta_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> np.ndarray:
    """Betas [T] that rise over the first half of the steps, then stay."""
    return warmup_beta_schedule(num_timesteps, beta_start, beta_end, 0.5)


def const_beta_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> np.ndarray:
    """Betas [T] that are all beta_end; beta_start is not used."""
    check_num_timesteps(num_timesteps)
    return np.full(num_timesteps, beta_end, dtype=np.float64)


def jsd_beta_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> np.ndarray:
    """Betas [T] 1/T, 1/(T-1), ..., 1 (Sohl-Dickstein et al. 2015, Sec. 2.4.1).

    alpha_bar falls in a straight line to exactly 0; beta_start and beta_end are not
    used.

    Example:
      >>> np.cumprod(1 - jsd_beta_schedule(4))
      array([0.75, 0.5 , 0.25, 0.  ])
    """
    check_num_timesteps(num_timesteps)
    return 1.0 / np.arange(num_timesteps, 0, -1, dtype=np.float64)


def cosine_beta_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> np.ndarray:
    """Betas [T] whose alpha_bar is a squared cosine (Eq. 17 of Nichol & Dhariwal 2021).

    Betas are cut off at 0.999; beta_start and beta_end are not used.

    Example:
      >>> betas = cosine_beta_schedule(1000)
      >>> float(betas[-1])
      0.999
    """
    check_num_timesteps(num_timesteps)
    offset = 0.008
    time = np.arange(num_timesteps + 1, dtype=np.float64) / num_timesteps
    signal = np.cos((time + offset) / (1 + offset) * np.pi / 2) ** 2
    betas: np.ndarray = np.minimum(1 - signal[1:] / signal[:-1], 0.999)
    return betas


def sigmoid_beta_schedule(
    num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
) -> np.ndarray:
    """Betas [T] whose alpha_bar is a sigmoid of t (Jabri et al. 2022).

    It runs from -3 to 3 with temperature 1, the paper's choice. Betas are cut off at
    0.999; beta_start and beta_end are not used.

    Example:
      >>> alpha_bar = np.cumprod(1 - sigmoid_beta_schedule(1000))
      >>> f"{alpha_bar[499]:.4f}"
      '0.5000'
    """
    check_num_timesteps(num_timesteps)
    time = np.linspace(-3.0, 3.0, num_timesteps + 1, dtype=np.float64)
    fall = 1 / (1 + np.exp(time))
    signal = fall - fall[-1]  # 0 at the end; its scale cancels in the ratios
    betas: np.ndarray = np.minimum(1 - signal[1:] / signal[:-1], 0.999)
    return betas


SCHEDULES: dict[str, Callable[[int, float, float], np.ndarray]] = {
    "linear": linear_beta_schedule,
    "quad": quad_beta_schedule,
    "warmup10": warmup10_beta_schedule,
    "warmup50": warmup50_beta_schedule,
    "const": const_beta_schedule,
    "jsd": jsd_beta_schedule,
    "cosine": cosine_beta_schedule,
    "sigmoid": sigmoid_beta_schedule,
}


def make_schedule(betas: ArrayLike) -> Schedule:
    """Computes the tables of a diffusion process from its betas [T].

    Raises:
      ValueError: unless betas is one row of at least one number with 0 < beta <= 1.

    Example:
      >>> schedule = make_schedule(linear_beta_schedule(1000))
      >>> schedule.num_timesteps, f"{schedule.alphas_cumprod[0]:.4f}"
      (1000, '0.9999')
    """
    beta = _check_betas(betas)
    alpha_bar = np.cumprod(1 - beta)
    alpha_bar_prev = np.append(1.0, alpha_bar[:-1])
    variance = beta * (1 - alpha_bar_prev) / (1 - alpha_bar)
    # beta~_0 is 0, whose logarithm a likelihood can't use; beta~_1 stands in for it, as
    # in the paper's code. With T = 1 there is no beta~_1, and beta_0 takes its place.
    first = variance[1:2] if beta.size > 1 else beta
    tables = dict(
        betas=beta,
        alphas_cumprod=alpha_bar,
        alphas_cumprod_prev=alpha_bar_prev,
        sqrt_alphas_cumprod=np.sqrt(alpha_bar),
        sqrt_one_minus_alphas_cumprod=np.sqrt(1 - alpha_bar),
        posterior_mean_x_0=beta * np.sqrt(alpha_bar_prev) / (1 - alpha_bar),
        posterior_mean_x_t=(1 - alpha_bar_prev) * np.sqrt(1 - beta) / (1 - alpha_bar),
        posterior_variance=variance,
        log_variance_small=np.log(np.append(first, variance[1:])),
        log_variance_large=np.log(np.append(first, beta[1:])),
    )
    arrays = {name: jnp.asarray(table, jnp.float32) for name, table in tables.items()}
    return Schedule(**arrays, ends_in_noise=bool(alpha_bar[-1] == 0))


def _check_betas(betas: ArrayLike) -> np.ndarray:
    beta = np.asarray(betas, dtype=np.float64)
    if beta.ndim != 1 or beta.size < 1:
        raise ValueError(
            f"betas has shape {beta.shape}; give one row of at least 1 number"
        )
    # 1 - beta must differ from 1 in float64. NaN is not legal either.
    legal = (beta > 0) & (beta <= 1) & (1 - beta < 1)
    if not legal.all():
        t = int(np.argmin(legal))
        raise ValueError(
            f"betas[{t}] is {beta[t]:g}; every beta must have 0 < beta <= 1, and be at "
            "least 1e-15"
        )
    return beta
