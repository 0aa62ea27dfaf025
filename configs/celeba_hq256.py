"""CelebA-HQ, 256x256: the paper's run (Ho et al. 2020, Sec. 4 and B).

Reproduces: the samples of the paper's figures; it gives no FID for this data set. Not
            yet measured by this project.
Network:    113,673,219 parameters.
Data:       TFDS celeb_a_hq/256, 30,000 images, of which 1 % are held out (the paper
            trains on all). pip install "ddpm_jax[tfds]" prepares it from files that
            have to be downloaded by hand, as TFDS explains; or point --data.source at
            a folder or zip of the images.
Hardware:   the paper: TPU v3-8, 2.2 steps/s, 128 samples in 300 s (the paper's
            numbers), so about 63 hours. A checkpoint is 1.8 GB.
Command:    python train.py --config configs/celeba_hq256.py
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
            source="tfds:celeb_a_hq/256",
            image_size=(256, 256),
            channels=3,
            held_out=0.01,
            flip=True,
        ),
        train=Train(steps=500_000, batch_size=64, learning_rate=2e-5),
        # Samples, held-out images and checkpoints of this size cost many times those
        # of CIFAR-10, and a run takes days.
        log=Log(
            every=100,
            eval_every=10_000,
            eval_images=64,
            sample_every=50_000,
            sample_images=16,
            checkpoint_every=2000,
            keep_period=100_000,
        ),
    )
