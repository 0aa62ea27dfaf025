"""Emoji, 32x32 in colour: real pictures without a download, on a CPU.

Reproduces: nothing of the paper; a first colour model that a person can wait for.
Network:    1,113,955 parameters.
Data:       the 4,495 drawings of OpenMoji (CC BY-SA 4.0), over white.
            pip install "ddpm_jax[emoji]" brings them.
Hardware:   meant for tens of minutes on a CPU of a few cores, or a few minutes on a GPU
            (not yet measured by this project).
Command:    python train.py --config configs/emoji.py
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Log
from ddpm_jax.config import Model
from ddpm_jax.config import Train


def get_config() -> Config:
    return Config(
        model=Model(ch=32, ch_mult=(1, 2, 2), num_res_blocks=1, dropout=0.0),
        # Flags, letters and clocks are wrong in a mirror.
        data=Data(source="emoji", image_size=(32, 32), channels=3, flip=False),
        train=Train(
            steps=6000,
            batch_size=32,
            learning_rate=1e-3,
            warmup_steps=200,
            decay="cosine",
            ema_decay=0.995,
        ),
        log=Log(
            every=50,
            eval_every=500,
            eval_images=224,
            sample_every=2000,
            sample_images=36,
            checkpoint_every=500,
            keep_period=None,
        ),
    )
