"""Generate an input, run its command and judge the outcome: many inputs side by side, each in a process of its own."""

import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

from tests.campaigns import datasets, flags, folders
from tests.campaigns.campaign import COMMAND, process_environment
from tests.campaigns.outcome import WORKING, judge, snapshot
from tests.campaigns.scene import Generator, Input, Scene, make_scene

KINDS: dict[str, tuple[Generator, int]] = {
    "misspelt flags and names": (flags.misspelt, 12),
    "values of a run's fields": (flags.run_field, 16),
    "values of a study's fields": (flags.study_field, 6),
    "paths": (flags.path, 10),
    "image folders": (datasets.images, 10),
    "images to classify": (datasets.predicted, 6),
    "npz files": (datasets.npz, 12),
    "run folders and checkpoints": (folders.run, 12),
    "configurations and records": (folders.config, 8),
    "studies": (folders.study, 8),
}
"""Kind of input -> generator and share in percent."""

SECONDS, COSTLY_SECONDS = 90, 20
MEMORY = 8 * 2**30
"""Bytes of data that a process may allocate: no input may exhaust the machine's memory."""

PRELOADED = ("jaxcnn.cli.train", "jaxcnn.cli.study", "jaxcnn.cli.models", "jaxcnn.run.runner", "jaxcnn.models",
             "jaxcnn.run.predict", "orbax.checkpoint.v1", "sklearn.datasets", "PIL.Image")  # fmt: skip
"""Modules that the fork server imports once for all processes; only speed depends on this list."""

LOCK = threading.Lock()
"""Starting a process also reads the exit codes of others, which no two threads may do at once."""


class Settings(NamedTuple):
    """The seed and folder of a campaign."""

    seed: int
    out: Path


def kind_of(number: int) -> str:
    """Return the kind of an input: kinds are mixed by their shares, equally for every seed."""
    deck = [name for name, (_, share) in KINDS.items() for _ in range(share)]
    random.Random(0).shuffle(deck)
    return deck[number % len(deck)]


def attempt(number: int, separate: bool, settings: Settings) -> dict[str, Any]:
    """Generate input `number`, run its command and judge the outcome.

    Args:
        number: The input is a function of the seed and this number.
        separate: Start the command as a user does, not by forking a process that has imported jaxcnn.
        settings: The campaign.
    """
    root = settings.out / "scenes" / str(number)
    shutil.rmtree(root, ignore_errors=True)
    try:
        scene = make_scene(root, settings.out / "templates")
        given = KINDS[kind_of(number)][0](random.Random(f"{settings.seed} {number}"), scene)
        before = snapshot(root)
        code, out, error = (call if separate else call_forked)(given, scene, settings.out / "cache")
        if code is None:  # a command that was killed may have left anything
            outcome = WORKING if given.costly else "did not end"
        else:
            outcome = judge(given, scene, code, out, error, before)

        def shown(text: str) -> str:
            return text.replace(str(root), "SCENE").replace(str(settings.out), "OUT")[:400]

        lines = [shown(line) for line in error.splitlines() if line.strip()][-3:]
        row = {"number": number, "kind": kind_of(number), "about": given.about, "argv": list(map(shown, given.argv))}
        return {**row, "separate": separate, "code": code, "outcome": shown(outcome), "output": lines}
    finally:
        shutil.rmtree(root, ignore_errors=True)


def call(given: Input, scene: Scene, cache: Path) -> tuple[int | None, str, str]:
    """Run an input's command as a new process; return exit code (None: out of time), stdout and stderr."""
    try:
        done = subprocess.run(
            [*COMMAND, *given.argv], cwd=scene.here, env=process_environment(cache), stdin=subprocess.DEVNULL,
            capture_output=True, encoding="utf-8", errors="replace", timeout=_limit(given), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, "", ""
    return done.returncode, done.stdout, done.stderr


def call_forked(given: Input, scene: Scene, cache: Path) -> tuple[int | None, str, str]:
    """Run an input's command in a fork of a process that has imported jaxcnn; results as for `call`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *PRELOADED])
    texts = [scene.root.with_name(f"{scene.root.name}.{name}") for name in ("stdout", "stderr")]
    process = context.Process(target=_run_command, args=(given.argv, scene.here, *texts))
    try:
        with LOCK:
            process.start()
        ended = wait([process.sentinel], _limit(given))
        with LOCK:
            if not ended:
                process.kill()
            process.join()
        out, error = (text.read_text(encoding="utf-8", errors="replace") if text.exists() else "" for text in texts)
        return (process.exitcode if ended else None), out, error
    finally:
        for text in texts:
            text.unlink(missing_ok=True)


def _limit(given: Input) -> int:
    return COSTLY_SECONDS if given.costly else SECONDS


def _run_command(argv: tuple[str, ...], here: Path, out: Path, error: Path) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.chdir(here)
    for file, number in ((out, 1), (error, 2)):  # descriptors, so that output of C++ is caught, too
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
        os.close(descriptor)
    from jaxcnn.cli.entry import main

    main(list(argv))


def attempts(inputs: Iterable[tuple[int, bool]], settings: Settings, workers: int) -> Iterator[dict[str, Any]]:
    """Yield the outcome of each input (number, separate) as it ends, `workers` of them at a time."""
    os.environ.update(process_environment(settings.out / "cache"))  # inherited by the fork server
    pool = ThreadPoolExecutor(workers)
    try:
        for done in as_completed([pool.submit(attempt, *each, settings) for each in inputs]):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)
