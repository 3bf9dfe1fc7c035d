"""Signals: the first lets the step finish, the second does not."""

import os
import signal

import pytest

from jaxcnn.runtime.signals import Interrupted, graceful


def twice(number):
    with graceful() as asked:
        assert not asked()
        os.kill(os.getpid(), number)
        assert asked()
        os.kill(os.getpid(), number)
        pytest.fail("the second signal was waited for")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends_at_once(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as raised:
        twice(number)
    assert not isinstance(raised.value, Interrupted)
    assert signal.getsignal(number) is before
