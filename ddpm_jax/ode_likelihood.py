r"""The exact likelihood of an image, by the probability-flow ODE.

The flow carries x at the smallest noise to x_T and back without chance, so that its
density is that of x_T = N(0, I), times how much the flow stretches (Song et al. 2021,
"Score-based generative modeling", App. D.2). In lambda = log(alpha / sigma), with x_t =
alpha x_0 + sigma eps, it reads

    dx / dlambda = sigma^2 x - sigma eps(x, t),
    log p(x_{t_0}) = log N(x_T; 0, I) + int div(dx / dlambda) dlambda,

the integral from lambda_{t_0} down to that of T - 1. Neither side divides by alpha or
sigma. Between whole t, log alpha_bar is on straight lines, as in `time_grids.py`.

The model is trained from t = 0 on, where an image already has a little noise, so that
is where the flow ends; x = x_{t_0} / alpha is what is read as an image. This is the
density of that very model: no limit is taken. The divergence is a sum over random
vectors (Hutchinson), which is right on average, or over the axes, which is exact.
"""

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ddpm_jax import keys as per_image
from ddpm_jax.denoiser import Denoised
from ddpm_jax.denoiser import Level
from ddpm_jax.denoiser import ModelFn
from ddpm_jax.denoiser import check_model
from ddpm_jax.denoiser import x0_and_eps
from ddpm_jax.schedules import Schedule

TRACES = ("hutchinson", "exact")


class FlowDensity(NamedTuple):
    """What the solver found for B images."""

    log_density: jax.Array  # [B], nats; NaN where max_steps did not suffice
    num_steps: jax.Array  # [B]: steps of the solver, those that it took back included


def ode_log_density(
    params: object,
    keys: jax.Array,
    x: jax.Array,
    *,
    schedule: Schedule,
    eps_fn: ModelFn | None = None,
    x0_fn: ModelFn | None = None,
    trace: str = "hutchinson",
    probes: int = 1,
    t_0: float = 0.0,
    tolerance: float = 1e-5,
    max_steps: int = 1000,
) -> FlowDensity:
    """The log density [B] of images x [B, ...], in nats, each solved on its own.

    keys is [B], or one key for images 0..B-1. The model is asked at float t, and its
    x_0 is not clipped. trace is "hutchinson", with so many random vectors of +-1 an
    image, or "exact", for which D vectors pass at once. t_0 in 0..T-1 is where the flow
    ends. A step of the solver, Tsit5, may err by tolerance, absolute and relative, in x
    and in the density per dimension.

    Raises:
      ValueError: if an option or the model does not fit the schedule.
      ModuleNotFoundError: if diffrax is not installed.

    Example:
      >>> from ddpm_jax.schedules import linear_beta_schedule, make_schedule
      >>> zero = lambda params, x_t, t: jnp.zeros_like(x_t)  # all images are 0
      >>> found = ode_log_density({}, jax.random.key(0), jnp.zeros((1, 2)), x0_fn=zero,
      ...                         schedule=make_schedule(linear_beta_schedule(1000)))
      >>> f"{found.log_density[0]:.2f}"  # 2 log N(0; 0, 0.01^2), as sigma_0 = 0.01
      '7.37'
    """
    check_options(schedule, trace, probes, t_0)
    check_model(schedule.ends_in_noise, eps_fn=eps_fn, x0_fn=x0_fn)
    keys = per_image.one_each(keys, x.shape[0])
    # A sum of logarithms in float32 is right to 1e-6; a logarithm of alpha_bar is not.
    table = jnp.cumsum(jnp.log1p(-schedule.betas))
    first = jnp.interp(t_0, jnp.arange(table.size, dtype=jnp.float32), table)
    ends = half_log_snr(jnp.stack([first, table[-1]]))
    model = partial(x0_and_eps, params, eps_fn=eps_fn, x0_fn=x0_fn, clip_x0=False)
    flow = partial(flow_velocity, model=model, log_alpha_bars=table)

    def density(key: jax.Array, x: jax.Array) -> FlowDensity:
        vectors = probe_vectors(key, x.shape, trace, probes)
        x_T, stretch, num_steps = follow(
            flow, jnp.exp(0.5 * first) * x, vectors, ends, tolerance, max_steps
        )
        normal = -0.5 * jnp.mean(x_T**2) - 0.5 * jnp.log(2 * jnp.pi)
        # x is x_{t_0} / alpha, whose density has a factor alpha for each dimension.
        return FlowDensity(x.size * (normal + stretch + 0.5 * first), num_steps)

    return jax.vmap(density)(keys, x)


def follow(
    flow: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    vectors: jax.Array,
    ends: jax.Array,
    tolerance: float,
    max_steps: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Takes one image x through a flow (lambda, x) -> dx / dlambda, from end to end.

    Returns where it comes to, the mean over its dimensions of the integrated divergence
    (NaN if max_steps did not suffice), and how many steps were tried.
    """
    diffrax = import_diffrax()

    def slope(
        ratio: jax.Array, state: tuple[jax.Array, jax.Array], _: None
    ) -> tuple[jax.Array, jax.Array]:
        velocity, divergence = with_divergence(partial(flow, ratio), state[0], vectors)
        return velocity, divergence / x.size

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        diffrax.Tsit5(),
        t0=ends[0],
        t1=ends[1],
        dt0=None,
        y0=(x, jnp.float32(0)),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        max_steps=max_steps,
        throw=False,
    )
    end, stretch = (leaf[-1] for leaf in solution.ys)
    solved = solution.result == diffrax.RESULTS.successful
    stretch = jnp.where(solved, stretch, jnp.nan)
    return end, stretch, solution.stats["num_steps"]


def flow_velocity(
    half_log_snr: jax.Array,
    x: jax.Array,
    *,
    model: Callable[..., Denoised],
    log_alpha_bars: jax.Array,
) -> jax.Array:
    """dx / dlambda of one image x at one lambda, which is half_log_snr."""
    # Each from lambda, where none loses its digits.
    log_alpha_bar = -jnp.logaddexp(0.0, -2 * half_log_snr)
    whole = jnp.arange(log_alpha_bars.size, dtype=jnp.float32)
    level = Level(
        t=jnp.interp(-log_alpha_bar, -log_alpha_bars, whole),
        alpha=jnp.sqrt(jax.nn.sigmoid(2 * half_log_snr)),
        sigma=jnp.sqrt(jax.nn.sigmoid(-2 * half_log_snr)),
    )
    eps = model(x[None], level).eps[0]
    return level.sigma**2 * x - level.sigma * eps


def with_divergence(
    velocity: Callable[[jax.Array], jax.Array], x: jax.Array, vectors: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A velocity at x, and the sum of v . J v of its Jacobian over vectors [P, ...].

    Example:
      >>> axes = jnp.eye(2)
      >>> with_divergence(lambda x: 3 * x, jnp.ones(2), axes)[1].tolist()
      6.0
    """

    def push(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, tangent = jax.jvp(velocity, (x,), (vector,))
        return value, jnp.vdot(vector, tangent)

    value, parts = jax.vmap(push, out_axes=(None, 0))(vectors)
    return value, parts.sum()


def probe_vectors(
    key: jax.Array, shape: tuple[int, ...], trace: str, probes: int
) -> jax.Array:
    """Vectors [P, ...] whose v . J v sum up to the trace of J, or do so on average.

    Example:
      >>> vectors = probe_vectors(jax.random.key(0), (3,), "hutchinson", 4)
      >>> (vectors**2).sum(axis=0).tolist()
      [1.0, 1.0, 1.0]
    """
    if trace == "exact":
        size = math.prod(shape)
        return jnp.eye(size).reshape(size, *shape)
    signs = jax.random.rademacher(jax.random.fold_in(key, 1), (probes, *shape))
    return signs / math.sqrt(probes)


def half_log_snr(log_alpha_bar: jax.Array) -> jax.Array:
    """lambda = log(alpha / sigma), as `spacings.half_log_snr` has it in float64."""
    return 0.5 * (log_alpha_bar - jnp.log(-jnp.expm1(log_alpha_bar)))


def check_options(schedule: Schedule, trace: str, probes: int, t_0: float) -> None:
    """Raises ValueError unless the options are known and fit the schedule."""
    last = schedule.num_timesteps - 1
    if trace not in TRACES:
        raise ValueError(f"trace is {trace!r}; it must be one of {', '.join(TRACES)}")
    if probes < 1:
        raise ValueError(f"probes is {probes}; give at least 1")
    if schedule.ends_in_noise:
        raise ValueError(
            "this schedule ends at alpha_bar = 0, and the flow between its last two "
            "steps has no beginning; take the variational bound, nll, instead"
        )
    if not 0 <= t_0 < last:
        raise ValueError(f"t_0 is {t_0}; give a time from 0 to below {last}")


def import_diffrax() -> ModuleType:
    """The library that solves the ODE.

    Raises:
      ModuleNotFoundError: if it is not installed.
    """
    try:
        import diffrax
    except ImportError as error:
        raise ModuleNotFoundError(
            "the likelihood by the ODE needs one more package: pip install "
            '"ddpm_jax[evaluate]"'
        ) from error
    return diffrax
