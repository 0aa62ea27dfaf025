"""The two numbers of a roofline: what a program must compute, what a machine can.

The share of the second that a program reaches is operations / seconds / rate.
"""

import time

import jax
import jax.numpy as jnp

SIZES = {"cpu": (1024, 2048), "gpu": (4096, 8192), "tpu": (4096, 8192)}


def floating_point_operations(compiled: jax.stages.Compiled) -> float:
    """The operations of one call, as the compiler counts them.

    It leaves out what a convolution would compute on padding, and counts the body of
    a loop once.
    """
    costs = compiled.cost_analysis()
    return float(costs["flops"]) if costs else 0.0


def matmul_rate(dtype: str, seconds: float = 1.0) -> float:
    """Operations per second of the best square matrix multiplication found here."""
    sizes = SIZES[jax.default_backend()]
    return max(_rate(size, dtype, seconds / len(sizes)) for size in sizes)


def _rate(size: int, dtype: str, seconds: float) -> float:
    matrix = jnp.full((size, size), 0.5, dtype)
    multiply = jax.jit(jnp.matmul).lower(matrix, matrix).compile()
    jax.block_until_ready(multiply(matrix, matrix))
    best, ends = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < ends:
        began = time.perf_counter()
        jax.block_until_ready(multiply(matrix, matrix))
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
