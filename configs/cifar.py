"""CIFAR-10, 32x32: the paper's run (Ho et al. 2020, Sec. 4 and B).

Reproduces: FID 3.17, IS 9.46, NLL <= 3.75 bits/dim (the paper's numbers, EMA weights,
            50,000 samples, against the training set; not yet measured by this project).
Network:    35,746,307 parameters.
Data:       TFDS cifar10. pip install "ddpm_jax[tfds]" prepares it once; or point
            --data.source at a folder or zip of the 50,000 training images.
Hardware:   the paper: TPU v3-8, 21 steps/s, 10.6 hours (the paper's numbers).
Command:    python train.py --config configs/cifar.py

Is my run right? Loss (mean over 100 steps) of the paper's network with this config:
            step    1k | step    5k | step   20k
                       |            |             (not yet measured by this project)
"""

from ddpm_jax.config import Config


def get_config() -> Config:
    # The paper's CIFAR-10 run is what the defaults of Config are.
    return Config()
