"""Handwritten digits, 8x8: the quick start.

Reproduces: nothing of the paper; shows that all of it works, on real images.
Data:       the 1,797 digits that scikit-learn ships; no download.
Network:    701,345 parameters.
Hardware:   two CPU cores: about 3 minutes (an AMD EPYC at 2.4 GHz without AVX-512,
            2026-11-24).
Loss:       0.139 at the end, and 0.165 on held-out digits, where betas are cosine.
Command:    python train.py --config configs/digits.py
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Log
from ddpm_jax.config import Model
from ddpm_jax.config import Process
from ddpm_jax.config import Train


def get_config() -> Config:
    return Config(
        # With linear betas, images of so few pixels are noise after half of the steps.
        process=Process(schedule="cosine"),
        model=Model(
            ch=32,
            ch_mult=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(4,),
            dropout=0.0,
        ),
        data=Data(source="digits", flip=False),
        train=Train(
            steps=3000,
            batch_size=32,
            learning_rate=2e-3,
            warmup_steps=100,
            decay="cosine",
            ema_decay=0.995,
        ),
        log=Log(
            every=50,
            eval_every=500,
            eval_images=360,
            sample_every=1500,
            sample_images=64,
            checkpoint_every=500,
            keep_period=None,
        ),
    )
