"""CIFAR-10, 32x32, as Nichol and Dhariwal (2021) train it: cosine betas and L_hybrid.

The noise is predicted as in cifar.py, and a variance between beta~ and beta beside it,
which a thousandth of the bound trains. Blocks, attention, dropout, rate and steps are
those of the flags that their code was run with. Their network is another in what those
flags do not name: t scaled to 0..1000, t that scales and shifts the activations, no
clipping of gradients.

Reproduces: a row of the paper's Table 2, with another network (see above); not yet
            measured by this project.
Network:    49,066,246 parameters.
Data:       TFDS cifar10, as in cifar.py.
Hardware:   not yet measured by this project. A grid of samples takes 4,000 steps.
Command:    python train.py --config configs/cifar_improved.py
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
        objective=Objective(loss="hybrid", variance="learned_range"),
        model=Model(
            num_res_blocks=3,
            attention_resolutions=(16, 8),
            attention_head_dim=64,  # 4 heads
            dropout=0.3,
        ),
        # Their code mirrors no image.
        data=Data(flip=False),
        train=Train(steps=500_000, learning_rate=1e-4, warmup_steps=0),
    )
