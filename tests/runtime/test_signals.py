"""Signals: the first lets the step finish, the second does not."""

import os
import signal
import threading

import pytest

from jaxcnn.runtime.signals import Interrupted, graceful, interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends_at_once(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as raised, graceful() as interrupted:  # noqa: PT012
        assert not interrupted()
        os.kill(os.getpid(), number)
        assert interrupted()
        os.kill(os.getpid(), number)
        pytest.fail("the second signal was waited for")
    assert not isinstance(raised.value, Interrupted)
    assert signal.getsignal(number) is before


def test_sigterm_acts_like_ctrl_c_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible() as received:
        signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible() as received:
            signal.raise_signal(signal.SIGINT)
        assert received == []
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_signals_alone():
    results = []

    def work():
        with graceful() as interrupted, interruptible() as received:
            results.append((interrupted(), received))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [(False, [])]
