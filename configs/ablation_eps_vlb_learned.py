"""CIFAR-10, ablation: the noise, by L, with learned diagonal variance.

One of the six rows of Table 2 of Ho et al. (2020), where L is the variational bound.
Differs from cifar.py in the objective only.

Reproduces: a blank cell: the paper calls training "unstable" and its samples too
            poor to score, so an error about a non-finite update is no surprise (not
            yet measured by this project).
Network:    35,749,766 parameters: cifar.py's, with a log variance for each channel.
Data:       TFDS cifar10, as in cifar.py.
Hardware:   the paper: TPU v3-8, 21 steps/s, 10.6 hours for cifar.py's run (the paper's
            numbers).
Command:    python train.py --config configs/ablation_eps_vlb_learned.py
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Objective


def get_config() -> Config:
    return Config(
        objective=Objective(prediction="eps", loss="vlb", variance="learned"),
    )
