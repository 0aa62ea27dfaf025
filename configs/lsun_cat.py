"""LSUN Cat, 256x256: the paper's run (Ho et al. 2020, Sec. 4 and B).

Reproduces: FID 19.75 (the paper's number, EMA weights, 50,000 samples, by the FID
            code of StyleGAN2; not yet measured by this project).
Network:    113,673,219 parameters.
Data:       LSUN cat, 1,657,266 images, of which 0.1 % are held out. Unpack
            cat_train_lmdb.zip (github.com/fyu/lsun) in data/lsun, and
            pip install "ddpm_jax[lsun]"; or point --data.source elsewhere.
Hardware:   the paper: TPU v3-8, 2.2 steps/s, 128 samples in 300 s (the paper's
            numbers), so about 227 hours. A checkpoint is 1.8 GB.
Command:    python train.py --config configs/lsun_cat.py

Flips: the paper (Sec. B) mirrors images of all data sets but LSUN Bedroom, while the
comments of its released code switch flips off for Cat. The paper's text wins here;
--data.no-flip is the other reading.
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Log
from ddpm_jax.config import Model
from ddpm_jax.config import Objective
from ddpm_jax.config import Train


def get_config() -> Config:
    return Config(
        objective=Objective(variance="fixed_small"),
        model=Model(ch_mult=(1, 1, 2, 2, 4, 4), dropout=0.0),
        data=Data(
            source="lsun:data/lsun/cat_train_lmdb",
            image_size=(256, 256),
            channels=3,
            held_out=0.001,
            flip=True,
        ),
        train=Train(steps=1_800_000, batch_size=64, learning_rate=2e-5),
        # Samples, held-out images and checkpoints of this size cost many times those
        # of CIFAR-10, and a run takes days.
        log=Log(
            every=100,
            eval_every=10_000,
            eval_images=64,
            sample_every=50_000,
            sample_images=16,
            checkpoint_every=2000,
            keep_period=200_000,
        ),
    )
