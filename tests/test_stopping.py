"""How a run ends before its last step."""

import signal
import threading

import pytest

from ddpm_jax.stopping import NonFiniteUpdateError
from ddpm_jax.stopping import check_finite
from ddpm_jax.stopping import stop_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_insists(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), stop_signals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_another_thread_takes_no_signals_and_does_not_fail() -> None:
    seen = []

    def work() -> None:
        with stop_signals() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


@pytest.mark.parametrize(
    ("saved", "said"), [(None, "no checkpoint was saved"), (7, "of step 7, is from")]
)
def test_a_bad_step_is_named_with_what_is_left(saved: int | None, said: str) -> None:
    check_finite(-1, saved)
    with pytest.raises(NonFiniteUpdateError, match=f"of step 9 was .*{said}"):
        check_finite(9.0, saved)
