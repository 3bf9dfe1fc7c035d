"""Signals: the first lets the step finish, the second does not."""

import os
import signal
import subprocess
import sys
import threading
import time

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


@pytest.mark.parametrize("first", [interruptible, graceful])
def test_what_python_drops_in_a_destructor_is_raised_again(first, capsys):
    """The signal that ends at once arrives where exceptions are printed and forgotten."""

    class Slow:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt), first():  # noqa: PT012
        if first is graceful:
            os.kill(os.getpid(), signal.SIGINT)
        Slow()
        time.sleep(10)
    assert capsys.readouterr().err == ""


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


def test_an_import_is_finished_first(tmp_path, monkeypatch):
    """Extension modules that are interrupted while they start end the process."""
    code = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(0.01)\nwhole = True\n"
    (tmp_path / "slow_to_start.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt), interruptible() as received:  # noqa: PT012
        import slow_to_start  # type: ignore[import-not-found]

        assert slow_to_start.whole
        assert received == []
        time.sleep(10)  # the signal is sent again
        pytest.fail("the signal was lost")
    assert received == [signal.SIGINT]


def test_a_script_that_works_while_it_is_imported_is_interrupted_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxcnn.runtime.signals.RESENDS", 3)
    (tmp_path / "never_done.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt), interruptible():
        import never_done  # type: ignore[import-not-found]  # noqa: F401


def test_a_signal_that_is_to_be_sent_again_is_not_once_all_is_over(tmp_path):
    """Nobody would handle it then: the process would end with another code."""
    code = (
        "import os, signal, sys, time\n"
        "from jaxcnn.runtime import signals\n"
        "with signals.interruptible():\n"
        "    with signals._resender() as resend:\n"
        "        resend(signal.SIGINT)\n"
        "time.sleep(0.3)\n"
        "sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
