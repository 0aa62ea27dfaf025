"""CIFAR-10, ablation: the posterior mean, by its squared error.

One of the six rows of Table 2 of Ho et al. (2020).
Differs from cifar.py in the objective only.

Reproduces: a blank cell: the paper calls training "unstable" and its samples too
            poor to score, so an error about a non-finite update is no surprise (not
            yet measured by this project).
Network:    35,746,307 parameters.
Data:       TFDS cifar10, as in cifar.py.
Hardware:   the paper: TPU v3-8, 21 steps/s, 10.6 hours for cifar.py's run (the paper's
            numbers).
Command:    python train.py --config configs/ablation_mean_simple.py
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Objective


def get_config() -> Config:
    return Config(
        objective=Objective(
            prediction="posterior_mean", loss="simple", variance="fixed_large"
        ),
    )
