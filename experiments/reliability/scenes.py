"""What generated inputs are tried on: a trained run, an unfinished one, a study, images, an .npz file."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from campaign import COMMAND, variables

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import write_json

NET = ("--model.family", "plain", "--model.depth", "3", "--model.width", "4", "--epochs", "2", "--quiet")
TINY = (*NET, "--batch-size", "32", "--data.train-size", "96")
STUDY = (
    "--model.family", "plain", "--depths", "3", "5", "--params", "2500", "--tolerance", "0.05", "--epochs", "1",
    "--batch-size", "32", "--data.train-size", "96", "--tuning.learning-rates", "0.05", "--tuning.weight-decays",
    "0.0005", "--tuning.extensions", "0", "--seeds.pilot", "1", "--seeds.cap", "1", "--workers", "1",
)  # fmt: skip
READERS = {
    "evaluate": lambda folder: ("evaluate", str(folder), "--json"),
    "predict": lambda folder: ("predict", str(folder), "{image}", "--json"),
    "report": lambda folder: ("report", str(folder)),
}
"""Commands whose output is known beforehand, by what they are given."""


class Input(NamedTuple):
    """One generated input.

    Args:
        argv: The command.
        names: Words of which the sentence must hold one.
        about: What was done, for the record.
        must: It cannot be accepted.
        equal: What an accepted one is held to: the name of an output in `Scene.expected`, or "run", the run's result.
        may: Beginnings of the names, below the scene, of what an accepted one may change.
        long: It asks for so much that it may go on for long.
    """

    argv: tuple[str, ...]
    names: tuple[str, ...]
    about: str
    must: bool = False
    equal: str | None = None
    may: tuple[str, ...] = ()
    long: bool = False


class Scene(NamedTuple):
    """A folder for one input, and what all share.

    Args:
        root: The folder; everything in it is this input's own.
        templates: Shared, never changed: run, half (a run without its last epoch), study, images, set.npz.
        expected: What `READERS` print of the templates.
    """

    root: Path
    templates: Path
    expected: dict[str, str]

    @property
    def here(self) -> Path:
        """The working folder of the command."""
        return self.root / "here"

    @property
    def image(self) -> Path:
        """An image that can be read."""
        return self.templates / "images" / "dark" / "0.png"

    def copy(self, name: str) -> Path:
        """A template of this input's own."""
        source, target = self.templates / name, self.root / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        return target


Kind = Callable[[random.Random, Scene], Input]


def make_scene(root: Path, templates: Path) -> Scene:
    """A scene with nothing in it but a file of the user's."""
    (root / "here").mkdir(parents=True)
    (root / "here" / "notes.txt").write_text("mine\n")
    return Scene(root, templates, json.loads((templates / "expected.json").read_text()))


def make_templates(folder: Path, cache: Path) -> None:
    """Train, study and draw what every scene copies; once.

    Raises:
        InputError: A command fails on what nobody has damaged.
    """
    if (folder / "expected.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _images(folder / "images")
    np.savez(folder / "set.npz", **arrays())  # type: ignore[arg-type]
    environment = variables(cache)

    def call(*words: str) -> str:
        done = subprocess.run([*COMMAND, *words], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"{words[0]}: it fails on an undamaged input ({done.stderr.strip()[-300:]}); mend that")
        return done.stdout

    call("train", *TINY, "--out", str(folder / "run"))
    call("study", *STUDY, "--out", str(folder / "study"))
    _unfinish(folder)
    image = str(folder / "images" / "dark" / "0.png")
    expected = {}
    for name, template in (("evaluate", "run"), ("evaluate", "half"), ("predict", "run"), ("predict", "half"),
                           ("report", "study")):  # fmt: skip
        words = [word.replace("{image}", image) for word in READERS[name](folder / template)]
        expected[f"{name} {template}"] = plain(call(*words), folder / template)
    write_json(folder / "expected.json", expected)


def plain(text: str, folder: Path) -> str:
    """What a command printed without the place of its folder, spaces and lines of tables."""
    text = text.replace(str(folder), "FOLDER")
    return " ".join("".join(c if c.isascii() else " " for c in text).split())


def arrays() -> dict[str, np.ndarray]:
    """Images of three classes that differ in brightness, as npz_source takes them."""
    labels = np.arange(60) % 3
    rng = np.random.default_rng(0)
    images = rng.integers(0, 80, (60, 8, 8)) + 80 * labels[:, None, None]
    return {"images": images.astype(np.uint8), "labels": labels}


def _images(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(1)
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = (rng.integers(0, 100, (8, 8)) + 120 * label).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def _unfinish(folder: Path) -> None:
    """The run as a kill in its last epoch leaves it."""
    half = folder / "half"
    shutil.copytree(folder / "run", half)
    for name in ("result.json", "predictions.npz"):
        (half / name).unlink()
    steps: list[Any] = sorted(
        (int(step.name), step) for step in (half / "checkpoints").iterdir() if step.name.isdigit()
    )
    if len(steps) < 2:
        raise InputError(f"{str(half / 'checkpoints')!r}: it holds {len(steps)} checkpoints; two are needed here")
    shutil.rmtree(steps[-1][1])
    lines = (half / "metrics.jsonl").read_text().splitlines(keepends=True)
    (half / "metrics.jsonl").write_text("".join(lines[:-1]))
