"""CIFAR-10, 32x32, for its likelihood: L of Nichol and Dhariwal (2021), by importance.

cifar_improved.py with another objective: the variational bound alone, whose terms
differ so much in size that t is drawn by the losses of the past.

Reproduces: a row of the paper's Table 2, with another network; not yet measured by
            this project.
Network:    49,066,246 parameters.
Data:       TFDS cifar10, as in cifar.py.
Hardware:   not yet measured by this project. A grid of samples takes 4,000 steps.
Command:    python train.py --config configs/cifar_improved_vlb.py
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import Process
from ddpm_jax.config import Train


def get_config() -> Config:
    return Config(
        process=Process(schedule="cosine", num_timesteps=4000),
        objective=Objective(
            loss="vlb", variance="learned_range", t_sampling="importance"
        ),
        model=Model(
            num_res_blocks=3,
            attention_resolutions=(16, 8),
            attention_head_dim=64,  # 4 heads
            dropout=0.3,
        ),
        data=Data(flip=False),
        train=Train(steps=500_000, learning_rate=1e-4, warmup_steps=0),
    )
