"""Inputs tried: within worker processes that call the command line again and again, and as processes of their own."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import flags
import folders
import pictures
from campaign import COMMAND, variables
from judging import OUTCOMES, WORKING, judge, snapshot
from scenes import Input, Kind, Scene, make_scene

# Kind -> (generator, share of a hundred).
KINDS: dict[str, tuple[Kind, int]] = {
    "misspelt flags and names": (flags.misspelt, 12),
    "values of a run's fields": (flags.run_field, 16),
    "values of a study's fields": (flags.study_field, 6),
    "paths": (flags.path, 10),
    "image folders": (pictures.images, 10),
    "images to classify": (pictures.predicted, 6),
    "npz files": (pictures.npz, 12),
    "run folders and checkpoints": (folders.run, 12),
    "configurations and records": (folders.config, 8),
    "studies": (folders.study, 8),
}
SECONDS, LONG_SECONDS = 90, 20
MEMORY = 8 * 2**30
"""Bytes of data of a process: an input that asks for more than there is must not take the machine along."""


class Settings(NamedTuple):
    """What every worker knows: the campaign's seed and folder."""

    seed: int
    out: Path


def kind_of(number: int) -> str:
    """The kind of an input: by shares, mixed, the same for every seed."""
    deck = [name for name, (_, share) in KINDS.items() for _ in range(share)]
    random.Random(0).shuffle(deck)
    return deck[number % len(deck)]


def generate(number: int, settings: Settings, root: Path) -> tuple[Input, Scene]:
    """Input `number` of a seed, and the scene made for it."""
    scene = make_scene(root, settings.out / "templates")
    rng = random.Random(f"{settings.seed} {number}")
    return KINDS[kind_of(number)][0](rng, scene), scene


def attempt(number: int, settings: Settings, tell: Any, *, apart: bool) -> dict[str, Any]:
    """Make an input, run its command, judge what came of it.

    Args:
        number: The input.
        settings: The campaign.
        tell: Called with what is known of the input before its command runs.
        apart: As a process of its own, as a user does.
    """
    root = scene_root(number, settings)
    shutil.rmtree(root, ignore_errors=True)
    try:
        asked, scene = generate(number, settings, root)
        short = partial(without_paths, root=root, out=settings.out)
        argv = [short(word) for word in asked.argv]
        row = {"number": number, "kind": kind_of(number), "about": asked.about, "argv": argv, "apart": apart}
        tell(row | {"long": asked.long})
        before = snapshot(root)
        code, said = (call_apart if apart else call_here)(asked, scene, settings)
        # A command that was cut short may have left anything.
        outcome = WORKING if code is None and asked.long else "it did not end" if code is None else ""
        outcome = outcome or judge(asked, scene, code or 0, said, before)
        last = [line for line in said[1].splitlines() if line.strip()][-3:]
        return row | {"code": code, "outcome": short(outcome), "said": [short(line) for line in last]}
    finally:
        shutil.rmtree(root, ignore_errors=True)


def without_paths(text: str, *, root: Path, out: Path) -> str:
    """A text without this machine's folders, which are no part of what was generated; shortened."""
    return text.replace(str(root), "SCENE").replace(str(out), "OUT")[:400]


def scene_root(number: int, settings: Settings) -> Path:
    """Where an input is tried."""
    return settings.out / "scenes" / str(number)


def call_here(asked: Input, scene: Scene, settings: Settings) -> tuple[int | None, tuple[str, str]]:
    """The command line within this process, with what even C++ prints."""
    from jaxcnn.cli.entry import main

    code: Any = 0
    with tempfile.TemporaryFile("w+b") as out, tempfile.TemporaryFile("w+b") as error:
        kept, place = (os.dup(1), os.dup(2)), os.getcwd()
        os.chdir(scene.here)
        os.dup2(out.fileno(), 1)
        os.dup2(error.fileno(), 2)
        try:
            main(list(asked.argv))
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            for number in kept:
                os.close(number)
            os.chdir(place)
        texts = [(file.seek(0), file.read().decode(errors="replace"))[1] for file in (out, error)]
    return (code if isinstance(code, int) else int(code is not None)), (texts[0], texts[1])


def call_apart(asked: Input, scene: Scene, settings: Settings) -> tuple[int | None, tuple[str, str]]:
    """The command line as a process of its own."""
    limit = LONG_SECONDS if asked.long else SECONDS
    command, environment = [*COMMAND, *asked.argv], variables(settings.out / "cache")
    with subprocess.Popen(
        command,
        cwd=scene.here,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            said = process.communicate(timeout=limit - 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, ("", "")
    return process.returncode, (said[0].decode(errors="replace"), said[1].decode(errors="replace"))


def serve(connection: Connection, settings: Settings) -> None:
    """A worker: numbers in; for each, what is known of the input, then what came of it."""
    os.setsid()  # Ctrl-C in the terminal is for the campaign, which ends its workers.
    os.environ.clear()
    os.environ.update(variables(settings.out / "cache"))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    while (asked := connection.recv()) is not None:
        number, apart = asked
        row = attempt(number, settings, connection.send, apart=apart)
        if row["outcome"] not in OUTCOMES and not apart:
            again = attempt(number, settings, lambda row: None, apart=True)
            row["again"] = again["outcome"]  # A fault of a process that has done other work before is one, too.
        connection.send(row)


class Worker:
    """A process that tries inputs, replaced by another where one ends it or does not end."""

    def __init__(self, settings: Settings):
        self.settings, self.known, self.begun = settings, dict[str, Any](), 0.0
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, settings))
        self.process.start()
        other.close()

    def give(self, number: int, apart: bool) -> None:
        """Ask for one input."""
        self.known, self.begun = (
            {"number": number, "kind": kind_of(number), "about": "?", "argv": [], "apart": apart},
            0.0,
        )
        self.connection.send((number, apart))

    def take(self) -> dict[str, Any] | None:
        """What came of the input; None where the worker only said which it is."""
        try:
            row = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return self.known | {"code": self.process.exitcode, "outcome": f"the process died: {self.process.exitcode}"}
        if "outcome" in row:
            return row
        self.known, self.begun = row, time.monotonic()
        return None

    @property
    def overdue(self) -> bool:
        """Whether the input takes too long."""
        limit = LONG_SECONDS if self.known.get("long") else SECONDS
        return self.begun > 0 and time.monotonic() - self.begun > limit + 5 * self.known["apart"]

    def end(self) -> None:
        """Kill it and what it has started."""
        if self.process.is_alive() and self.process.pid is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.process.kill()
        self.process.join()
        self.connection.close()


def results(asked: Iterable[tuple[int, bool]], settings: Settings, count: int) -> Iterator[dict[str, Any]]:
    """Try inputs side by side: (number, whether as a process of its own) to what came of each, as they end."""
    todo, busy, idle = iter(asked), list[Worker](), [Worker(settings) for _ in range(count)]
    try:
        while True:
            while idle and (item := next(todo, None)) is not None:
                busy.append(idle.pop())
                busy[-1].give(*item)
            if not busy:
                return
            ready = wait([worker.connection for worker in busy], timeout=1)
            for worker in list(busy):
                row = worker.take() if worker.connection in ready else None
                if row is None and worker.overdue:
                    row = worker.known | {
                        "code": None,
                        "outcome": WORKING if worker.known.get("long") else "it did not end",
                    }
                if row is None:
                    continue
                busy.remove(worker)
                dead = row.get("code") is None or not worker.process.is_alive()
                if dead:
                    worker.end()
                    shutil.rmtree(scene_root(row["number"], settings), ignore_errors=True)
                idle.append(Worker(settings) if dead else worker)
                yield row
    finally:
        for worker in (*busy, *idle):
            worker.end()
