"""The smallest run that goes through every layer: digits, 1.5k parameters' worth."""

import dataclasses

from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Log
from ddpm_jax.config import Model
from ddpm_jax.config import Process
from ddpm_jax.config import Train

MODEL = Model(
    ch=8,
    ch_mult=(1,),
    num_res_blocks=1,
    attention_resolutions=(),
    dropout=0.1,
    num_groups=4,
)
CONFIG = Config(
    process=Process(num_timesteps=10, beta_start=0.01, beta_end=0.5),
    model=MODEL,
    data=Data(source="digits"),
    train=Train(
        steps=6, batch_size=4, learning_rate=1e-3, warmup_steps=2, ema_decay=0.9
    ),
    log=Log(
        every=2,
        eval_every=3,
        eval_images=6,
        sample_every=6,
        sample_images=4,
        checkpoint_every=3,
        keep=5,
        keep_period=None,
    ),
)


def with_train(**changes: object) -> Config:
    """CONFIG with other fields in its train section."""
    train = dataclasses.replace(CONFIG.train, **changes)
    return dataclasses.replace(CONFIG, train=train)
