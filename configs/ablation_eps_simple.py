"""CIFAR-10, ablation: the noise, by L_simple, the paper's own choice.

One of the six rows of Table 2 of Ho et al. (2020).
The same run as cifar.py, spelt out.

Reproduces: FID 3.17, IS 9.46 (the paper's numbers, EMA weights, 50,000 samples,
            against the training set; not yet measured by this project).
Network:    35,746,307 parameters.
Data:       TFDS cifar10, as in cifar.py.
Hardware:   the paper: TPU v3-8, 21 steps/s, 10.6 hours for cifar.py's run (the paper's
            numbers).
Command:    python train.py --config configs/ablation_eps_simple.py
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Objective


def get_config() -> Config:
    return Config(
        objective=Objective(prediction="eps", loss="simple", variance="fixed_large"),
    )
