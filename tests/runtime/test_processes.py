"""Child processes that start without signals and end with their parent, and the cores that a process keeps to."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from jaxcnn.runtime.files import locked
from jaxcnn.runtime.processes import SIGNALS, quiet_start


def script(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("import_main", [False, True])
def test_children_start_with_blocked_signals_and_without_the_main_script(import_main):
    main, before = sys.modules["__main__"], signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with quiet_start(import_main=import_main):
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= SIGNALS
        assert (sys.modules["__main__"] is main) == import_main
    assert sys.modules["__main__"] is main
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_function_called_by_name_meets_few_collections():
    code = "from jaxcnn.runtime.processes import call_by_name\ncall_by_name('builtins', 'print', 'called')\n"
    with script(code + "import gc\nprint(gc.get_threshold()[0])") as child:
        assert child.communicate(timeout=60)[0] == "called\n50000\n"


PARENT = """
import multiprocessing, time
from jaxcnn.runtime.processes import exit_with_parent

def child():
    exit_with_parent(3)
    print(multiprocessing.current_process().pid, flush=True)
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("fork").Process(target=child).start()
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_child_exits_when_its_parent_is_killed():
    with script(PARENT) as parent:
        assert parent.stdout.readline()
        parent.kill()
        parent.communicate(timeout=30)  # Ends when the child, which holds the pipe too, has ended.


CORES = """
import os, sys
from pathlib import Path
from jaxcnn.runtime.processes import keep_to_cores
for _ in range(2):
    keep_to_cores(int(sys.argv[2]), Path(sys.argv[1]))
print(*sorted(os.sched_getaffinity(0)))
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_keeps_to_cores_that_no_other_has_locked(tmp_path):
    cores, folder = sorted(os.sched_getaffinity(0)), tmp_path / "cores"

    def kept(count):
        with script(CORES, folder, count) as process:
            return [int(core) for core in process.stdout.read().split()]

    assert kept(len(cores)) == cores
    assert not folder.exists()
    if len(cores) < 2:
        pytest.skip("with a single core there is no choice")
    assert kept(1) == cores[:1]  # Its lock ends with it.
    with ExitStack() as stack:
        assert stack.enter_context(locked(folder / f"{cores[0]}.lock"))
        assert kept(1) == cores[1:2]
        for core in cores[1:]:
            (folder / f"{core}.lock").touch()
            assert stack.enter_context(locked(folder / f"{core}.lock"))
        assert len(kept(1)) == 1  # Where no core is free, one is shared: the number counts.
    assert sorted(os.sched_getaffinity(0)) == cores
