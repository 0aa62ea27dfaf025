"""The Frechet distance of two Gaussians: what FID measures, on any features.

Dowson and Landau (1982), as Heusel et al., "GANs trained by a two time-scale update
rule" (2017), Eq. 6, use it. It is the squared distance, by the custom of the field:

    d^2 = |mu_1 - mu_2|^2 + tr(sigma_1 + sigma_2 - 2 (sigma_1 sigma_2)^(1/2))
"""

import numpy as np


def frechet_distance(
    mu_1: np.ndarray, sigma_1: np.ndarray, mu_2: np.ndarray, sigma_2: np.ndarray
) -> float:
    """The squared Frechet distance of N(mu_1, sigma_1) and N(mu_2, sigma_2).

    mu are [D], sigma [D, D]; all is computed in float64. A covariance may be singular,
    as it is of fewer samples than D.

    Raises:
      ValueError: if the shapes do not match, or numbers are not finite, or a sigma is
        no covariance.

    Example:
      >>> mu, sigma = np.zeros(2), np.eye(2)
      >>> frechet_distance(mu, sigma, mu + 3, 4 * sigma)
      20.0
    """
    mu_1, sigma_1, mu_2, sigma_2 = (
        np.asarray(x, np.float64) for x in (mu_1, sigma_1, mu_2, sigma_2)
    )
    wanted = (len(mu_1), len(mu_1))
    if mu_1.shape != mu_2.shape or not sigma_1.shape == sigma_2.shape == wanted:
        raise ValueError(
            f"mu {mu_1.shape} with sigma {sigma_1.shape} cannot be compared with mu "
            f"{mu_2.shape} with sigma {sigma_2.shape}; features of one extractor can"
        )
    check_gaussian(mu_1, sigma_1)
    check_gaussian(mu_2, sigma_2)
    # With sigma_i = A_i A_i^T the product's eigenvalues are the squares of the singular
    # values of A_1^T A_2. They are real and keep all their digits, also where they are
    # next to 0; the root of an eigenvalue that is rounded to 1e-16 is off by 1e-8.
    roots = np.linalg.svd(_factor(sigma_1).T @ _factor(sigma_2), compute_uv=False)
    traces = np.trace(sigma_1) + np.trace(sigma_2) - 2 * roots.sum()
    # Of equal Gaussians rounding may leave -1e-15.
    return max(float(np.square(mu_1 - mu_2).sum() + traces), 0.0)


def check_gaussian(mu: np.ndarray, sigma: np.ndarray) -> None:
    """Raises ValueError unless all is finite, and sigma [D, D] like a covariance."""
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise ValueError("mu or sigma holds numbers that are not finite")
    if np.abs(sigma - sigma.T).max() > 1e-6 * np.abs(sigma).max():
        raise ValueError("sigma is not symmetric, so it is no covariance")
    if (np.diag(sigma) < 0).any():
        raise ValueError("sigma has variances below 0, so it is no covariance")


def _factor(sigma: np.ndarray) -> np.ndarray:
    """A with A A^T = sigma, [D, D]."""
    values, vectors = np.linalg.eigh(sigma)
    if values[0] < -1e-4 * values[-1]:  # more than rounding, in float32 as well
        raise ValueError("sigma has eigenvalues below 0, so it is no covariance")
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)))
