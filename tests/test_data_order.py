"""The order: a pure function of (seed, step), whoever reads it and from where."""

import itertools

import numpy as np
import pytest

from ddpm_jax.data.dataset import Images
from ddpm_jax.data.dataset import Subset
from ddpm_jax.data.dataset import UInt8
from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.items import LazyImages
from ddpm_jax.data.order import batches
from ddpm_jax.data.order import indices
from ddpm_jax.data.order import is_array
from ddpm_jax.data.order import permutation

N = 10
ARRAY = np.arange(N, dtype=np.uint8).reshape(N, 1, 1, 1)
LAZY = LazyImages("numbers", str, ARRAY.__getitem__, np.arange(N), (1, 1, 1))
KINDS = {"array": ARRAY, "lazy": LAZY, "subset": Subset(LAZY, np.arange(N))}


def read(
    images: Images, steps: int, *, seed: int = 7, start_step: int = 0, **options: int
) -> UInt8:
    """Rows [steps, local batch] of the batches from a step on."""
    options = {"batch_size": 4} | options
    stream = batches(images, seed=seed, start_step=start_step, **options)
    return np.stack([batch.images.ravel() for batch in itertools.islice(stream, steps)])


@pytest.mark.parametrize("images", KINDS.values(), ids=KINDS)
def test_each_epoch_shows_every_image_once_across_the_borders_of_batches(
    images: Images,
) -> None:
    rows = read(images, 10).ravel().reshape(4, N)
    assert [sorted(epoch) for epoch in rows.tolist()] == [list(range(N))] * 4
    assert len({tuple(epoch) for epoch in rows.tolist()}) == 4


@pytest.mark.parametrize("images", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("start_step", [1, 2, 3, 50])
def test_resumed_run_reads_what_the_uninterrupted_run_reads(
    images: Images, start_step: int
) -> None:
    whole = read(images, start_step + 4)
    assert np.array_equal(read(images, 4, start_step=start_step), whole[start_step:])


@pytest.mark.parametrize("images", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_shares_of_all_processes_are_the_batch_of_one(
    images: Images, process_count: int
) -> None:
    shares = [
        read(images, 6, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    assert np.array_equal(np.concatenate(shares, axis=1), read(images, 6))


@pytest.mark.parametrize("kind", ["lazy", "subset"])
def test_decoded_images_come_in_the_order_of_the_array(kind: str) -> None:
    assert np.array_equal(read(KINDS[kind], 40), read(ARRAY, 40))
    assert (is_array(ARRAY), is_array(KINDS[kind])) == (True, False)


def test_stream_does_not_depend_on_the_batch_size() -> None:
    one = read(ARRAY, 60, batch_size=1).ravel()
    assert np.array_equal(read(ARRAY, 20, batch_size=3).ravel(), one)
    # A batch larger than the data holds more than one epoch.
    assert np.array_equal(read(ARRAY, 2, batch_size=30).ravel(), one)


def test_position_k_is_row_k_of_its_epoch() -> None:
    rows = indices(seed=3, start=0, count=35, n=N)
    for k, row in enumerate(rows.tolist()):
        assert row == permutation(3, k // N, N)[k % N]
    assert indices(3, 17, 9, N).tolist() == rows[17:26].tolist()
    assert indices(3, 17, 0, N).tolist() == []


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {
        tuple(permutation(seed, epoch, 20).tolist())
        for seed in range(10)
        for epoch in range(10)
    }
    assert len(orders) == 100


def test_every_image_is_equally_often_first() -> None:
    firsts = [int(permutation(0, epoch, N)[0]) for epoch in range(2000)]
    counts = np.bincount(firsts, minlength=N)
    # Binomial(2000, 0.1): mean 200, standard deviation 13.4; 4.5 of them.
    assert np.abs(counts - 200).max() < 60


def test_permutation_that_is_kept_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        permutation(0, 0, N)[0] = 1


def test_nothing_but_broken_images_ends_the_stream_with_a_name() -> None:
    def broken(number: int) -> UInt8:
        raise Unusable("corrupt or truncated")

    images = LazyImages("folder", "image {}".format, broken, np.arange(1), (1, 1, 1))
    stream = batches(images, seed=0, start_step=0, batch_size=1)
    with (
        pytest.warns(UserWarning, match="image 0"),
        pytest.raises(ValueError, match="folder: image 0: corrupt or truncated, and"),
    ):
        next(stream)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 5, "process_count": 2}, "5 does not divide into 2 processes"),
        ({"batch_size": 0}, "batch_size 0 does not divide"),
        ({"process_index": 1}, r"process_index must be in 0\.\.0, got 1"),
        ({"start_step": -1}, "a step from 0 on, got 10 images and start_step=-1"),
        ({"seed": -1}, r"seed must be in 0\.\.2\*\*64-1, got -1"),
    ],
)
def test_bad_arguments_are_refused_at_the_door(
    change: dict[str, int], message: str
) -> None:
    options = {"seed": 0, "start_step": 0, "batch_size": 4} | change
    with pytest.raises(ValueError, match=message):
        batches(ARRAY, **options)
    with pytest.raises(ValueError, match="got 0 images"):
        batches(ARRAY[:0], seed=0, start_step=0, batch_size=4)
