"""Images to train on: sources of uint8 arrays, and the order they are read in."""

from ddpm_jax.data.dataset import Batch
from ddpm_jax.data.dataset import Dataset
from ddpm_jax.data.dataset import Images
from ddpm_jax.data.dataset import Report
from ddpm_jax.data.dataset import crc32_of
from ddpm_jax.data.dataset import crc32_of_some
from ddpm_jax.data.dataset import describe
from ddpm_jax.data.dataset import split_rows
from ddpm_jax.data.digits import load_digits
from ddpm_jax.data.order import batches
from ddpm_jax.data.order import indices
from ddpm_jax.data.sources import SOURCES
from ddpm_jax.data.sources import load
from ddpm_jax.data.sources import read_images

__all__ = [
    "SOURCES",
    "Batch",
    "Dataset",
    "Images",
    "Report",
    "batches",
    "crc32_of",
    "crc32_of_some",
    "describe",
    "indices",
    "load",
    "load_digits",
    "read_images",
    "split_rows",
]
