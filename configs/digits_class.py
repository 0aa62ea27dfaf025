"""Handwritten digits, 8x8, each of the class that is asked for.

digits.py with labels: the network is told which digit each image shows, save one in ten
(Ho and Salimans 2022), so that it can also be guided towards a label.

Reproduces: nothing of that paper; shows labels and classifier-free guidance.
Data:       the 1,797 digits that scikit-learn ships, and their labels; no download.
Network:    702,753 parameters.
Hardware:   two CPU cores: minutes, as digits.py (on one of them 5 minutes, with other
            work beside it: an AMD EPYC at 2.4 GHz without AVX-512, 2026-11-24).
Loss:       0.128 at the end, and 0.152 on held-out digits.
Samples:    a classifier of the real digits reads 99.0 % of 500, 50 of each digit, as
            what was asked for (tools/check_digits.py; guidance 1, all 1,000 steps).
Command:    python train.py --config configs/digits_class.py
            python sample.py --workdir runs/digits_class --label 3 --guidance 2
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Log
from ddpm_jax.config import Model
from ddpm_jax.config import Process
from ddpm_jax.config import Train


def get_config() -> Config:
    return Config(
        process=Process(schedule="cosine"),
        model=Model(
            ch=32,
            ch_mult=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(4,),
            dropout=0.0,
            num_classes=10,
        ),
        data=Data(source="digits", flip=False),
        train=Train(
            steps=3000,
            batch_size=32,
            learning_rate=2e-3,
            warmup_steps=100,
            decay="cosine",
            ema_decay=0.995,
            label_dropout=0.1,
        ),
        log=Log(
            every=50,
            eval_every=500,
            eval_images=360,
            sample_every=1500,
            sample_images=100,
            checkpoint_every=500,
            keep_period=None,
        ),
    )
