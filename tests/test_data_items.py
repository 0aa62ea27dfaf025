"""Decoding many items by threads: in order, failures as values."""

from ddpm_jax.data.decode import Unusable
from ddpm_jax.data.items import TASK
from ddpm_jax.data.items import attempt


def test_results_come_in_order_with_failures_in_their_place() -> None:
    def even(number: int) -> int:
        if number % 7 == 0:
            raise Unusable(f"seven divides {number}")
        return -number

    count = 20 * TASK + 3
    results = list(attempt(even, count))
    assert len(results) == count
    for number, result in enumerate(results):
        if number % 7 == 0:
            assert str(result) == f"seven divides {number}"
        else:
            assert result == -number


def test_no_items_give_no_results() -> None:
    assert list(attempt(lambda number: number, 0)) == []
