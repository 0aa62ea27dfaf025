"""CIFAR-10, ablation: the noise, by L, with fixed isotropic variance.

One of the six rows of Table 2 of Ho et al. (2020), where L is the variational bound.
Differs from cifar.py in the objective only.

Reproduces: FID 13.51, IS 7.67 (the paper's numbers, EMA weights, 50,000 samples,
            against the training set; not yet measured by this project).
Network:    35,746,307 parameters.
Data:       TFDS cifar10, as in cifar.py.
Hardware:   the paper: TPU v3-8, 21 steps/s, 10.6 hours for cifar.py's run (the paper's
            numbers).
Command:    python train.py --config configs/ablation_eps_vlb_fixed.py
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Objective


def get_config() -> Config:
    return Config(
        objective=Objective(prediction="eps", loss="vlb", variance="fixed_large"),
    )
