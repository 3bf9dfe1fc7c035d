"""Time rivals in turns: each once per round, in rotating order, so that drift of the machine affects all alike.

A rival of another framework lives in a process of its own, with its own threads and flags, loaded and warmed up before
the first round. While others compute it waits for its next line of input, so only one computes at a time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcnn.errors import InputError

# One turn: number of steps -> seconds per step.
Turn = Callable[[int], float]
RIVALS = Path(__file__).parent / "rivals"
# No rival uses cached programs, so that the times to the first step are comparable.
COLD = {"JAX_ENABLE_COMPILATION_CACHE": "false", "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
# Threads of the previous rival may spin for some milliseconds.
PAUSE_SECONDS, MOST_STEPS = 0.02, 5000


def alternate(turns: Mapping[str, Turn], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return the seconds per step of each rival in each round.

    Args:
        turns: Name -> turn, each warmed up.
        rounds: Number of measurements of each rival.
        seconds: Approximate length of a turn, which has at least one step.
    """
    names = list(turns)
    counts = {name: min(MOST_STEPS, max(1, round(seconds / max(turn(1), 1e-9)))) for name, turn in turns.items()}
    # One short step is timed poorly: correct the count by a whole turn.
    counts = {name: min(MOST_STEPS, max(1, round(seconds / turns[name](n)))) if n > 1 else 1
              for name, n in counts.items()}  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for offset in range(len(names)):
            name = names[(number + offset) % len(names)]
            time.sleep(PAUSE_SECONDS)
            times[name].append(turns[name](counts[name]))
    return times


class Missing(Exception):
    """A rival cannot take part; the message says why in one sentence."""


class Rival:
    """A rival in a process of its own, warmed up; a line of input says how many steps to run.

    Args:
        name: As `rivals/worker.py` knows it.
        arguments: What it is to train: network, batch size, dtype.
        python: Interpreter that has the rival's framework.

    Raises:
        Missing: Its framework is not installed, or it failed.
    """

    def __init__(self, name: str, arguments: Sequence[object], python: str = sys.executable):
        self.name = name
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the process
        command = [python, str(RIVALS / "worker.py"), name, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=plain() | COLD
        )
        try:
            self.hello = self._answer()
        except Missing:
            self.close()
            raise

    def turn(self, steps: int) -> float:
        """Run some steps; return seconds per step by the rival's own clock."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._answer()["seconds"] / steps

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            last = (self.errors.read().strip().splitlines() or ["no message"])[-1]
            raise Missing(f"{self.name} is left out: it ended ({last[:300]})")
        answer = json.loads(line)
        if "missing" in answer:
            raise Missing(f"{self.name} is left out: {answer['missing']}")
        return answer


def plain() -> dict[str, str]:
    """Return the environment without XLA flags, caches, promotion and memory rules: all frameworks at their defaults.

    On an accelerator the processes share its memory: none may take it all in advance.
    """
    dropped = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_", "JAX_NUMPY_", "MALLOC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", **kept}


def ask(script: str, request: Mapping[str, Any], *, python: str = sys.executable, **variables: str) -> dict[str, Any]:
    """Run `rivals/SCRIPT` once on a request and return its answer.

    Raises:
        Missing: Its framework is not installed.
        InputError: It failed.
    """
    command = [python, str(RIVALS / script), json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, env=plain() | variables)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if "ModuleNotFoundError" in last:
            package = last.split("'")[1] if "'" in last else "a package"
            raise Missing(f'{package} is not installed; pip install -c constraints.txt -e ".[benchmarks]"')
        raise InputError(f"{script} failed ({last[:300]}); run it by hand: {' '.join(command[:2])} '{command[2]}'")
    return json.loads(done.stdout.splitlines()[-1])
