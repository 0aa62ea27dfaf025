"""Your own images, 64x64: a folder or a zip of them.

Reproduces: nothing of the paper; a starting point between its two networks.
Network:    20,761,923 parameters.
Data:       any images that Pillow reads, some thousands at least, cropped in the middle
            to a square. data/images is only the place where they are looked for unless
            --data.source says another.
Hardware:   meant for one GPU and a day (not yet measured by this project). If memory is
            short, take --train.batch-size 32 and --train.learning-rate 1e-4.
Command:    python train.py --config configs/folder.py --data.source PATH

Images that must not be mirrored (writing, faces of clocks) need --data.no-flip.
"""

from ddpm_jax.config import Config
from ddpm_jax.config import Data
from ddpm_jax.config import Log
from ddpm_jax.config import Model
from ddpm_jax.config import Train


def get_config() -> Config:
    return Config(
        model=Model(ch=64, ch_mult=(1, 2, 3, 4)),
        data=Data(source="data/images", image_size=(64, 64), channels=3),
        train=Train(steps=200_000, batch_size=64),
        log=Log(
            every=50,
            eval_every=2000,
            eval_images=256,
            sample_every=10_000,
            sample_images=36,
            checkpoint_every=2000,
            keep_period=50_000,
        ),
    )
