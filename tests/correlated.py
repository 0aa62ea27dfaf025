"""Correlated normal data: the model is known in closed form, and so is p(x | A x = y).

All is float64 NumPy, but for the model. Images are flattened to n numbers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ddpm_jax.schedules import Schedule


class Normal(NamedTuple):
    """N(mean [n], covariance [n, n])."""

    mean: np.ndarray
    covariance: np.ndarray

    def given(self, matrix: np.ndarray, y: np.ndarray, noise: float) -> "Normal":
        """The normal of x where A x + noise z = y: Bayes' rule."""
        error = noise**2 * np.eye(len(y))
        gain = self.covariance @ matrix.T
        gain = gain @ np.linalg.pinv(matrix @ self.covariance @ matrix.T + error)
        mean = self.mean + gain @ (y - matrix @ self.mean)
        return Normal(mean, self.covariance - gain @ matrix @ self.covariance)

    def x_0(self, schedule: Schedule):  # noqa: ANN201
        """The optimal x0_fn: E[x_0 | x_t] = mean + gain_t (x_t - sqrt(ab) mean)."""
        alpha_bar = np.cumprod(1 - np.asarray(schedule.betas, np.float64))
        alpha = np.sqrt(alpha_bar)[:, None, None]
        noise = (1 - alpha_bar)[:, None, None] * np.eye(len(self.mean))
        marginal = alpha**2 * self.covariance + noise
        gains = jnp.asarray(
            alpha * self.covariance @ np.linalg.inv(marginal), "float32"
        )
        mean = jnp.asarray(self.mean, "float32")

        def x0_fn(params: object, x_t: jax.Array, t: jax.Array) -> jax.Array:
            gap = x_t.reshape(len(x_t), -1)
            gap = gap - schedule.sqrt_alphas_cumprod[t][:, None] * mean[None]
            moved = jnp.einsum("bij,bj->bi", gains[t], gap)
            return (mean[None] + moved).reshape(x_t.shape)

        return x0_fn


# Four pixels in a row, each like its neighbours.
LIKENESS = 0.8 ** abs(np.subtract.outer(np.arange(4), np.arange(4)))
DATA = Normal(np.array([0.2, -0.1, 0.0, 0.3]), 0.25 * LIKENESS)
