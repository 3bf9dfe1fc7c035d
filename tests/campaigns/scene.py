"""What generated inputs are tried on: a trained run, an unfinished one, a study, images and an .npz file."""

import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import write_json
from tests.campaigns.campaign import COMMAND, process_environment

NET = ("--model.family", "plain", "--model.depth", "3", "--model.width", "4", "--epochs", "2", "--quiet")
TINY = (*NET, "--batch-size", "32", "--data.train-size", "96")
STUDY = (
    "--model.family", "plain", "--depths", "3", "5", "--params", "2500", "--tolerance", "0.05", "--epochs", "1",
    "--batch-size", "32", "--data.train-size", "96", "--tuning.learning-rates", "0.05", "--tuning.weight-decays",
    "0.0005", "--tuning.extensions", "0", "--seeds.pilot", "1", "--seeds.cap", "1", "--workers", "1",
)  # fmt: skip
EXPECTED = ("evaluate run", "evaluate half", "predict run", "predict half", "report study")
"""Commands and templates whose output is known: `Scene.expected` holds it."""


class Input(NamedTuple):
    """One generated input.

    Args:
        argv: The command line.
        names: Words of which an error message must contain one.
        about: Description, for the record.
        invalid: Whether it must be refused.
        reference: What an accepted input must reproduce: a key of `Scene.expected`, or "run", the result of the run.
        writable: Prefixes of the paths, below the scene, that an accepted input may change.
        costly: Whether it may ask for so much work that it runs into the time limit.
    """

    argv: tuple[str, ...]
    names: tuple[str, ...]
    about: str
    invalid: bool = False
    reference: str | None = None
    writable: tuple[str, ...] = ()
    costly: bool = False


class Scene(NamedTuple):
    """A folder for one input, and the templates that all inputs share.

    Args:
        root: The input's own folder.
        templates: Never changed: run, half (a run without its last epoch), study, images, set.npz.
        expected: Output of the commands in `EXPECTED`.
    """

    root: Path
    templates: Path
    expected: dict[str, str]

    @property
    def here(self) -> Path:
        """Working folder of the command."""
        return self.root / "here"

    @property
    def image(self) -> Path:
        """A readable image."""
        return self.templates / "images" / "dark" / "0.png"

    def copy(self, name: str) -> Path:
        """Copy a template into the scene and return its path."""
        source, target = self.templates / name, self.root / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        return target


Generator = Callable[[random.Random, Scene], Input]


def reader(name: str, folder: Path, image: Path) -> tuple[str, ...]:
    """Return the command line of evaluate, predict or report for a folder."""
    words = {"evaluate": ("--json",), "predict": (str(image), "--json"), "report": ()}[name]
    return (name, str(folder), *words)


def make_scene(root: Path, templates: Path) -> Scene:
    """Create a scene that holds nothing but one file of the user's."""
    (root / "here").mkdir(parents=True)
    (root / "here" / "notes.txt").write_text("mine\n")
    return Scene(root, templates, json.loads((templates / "expected.json").read_text()))


def make_templates(folder: Path, cache: Path) -> None:
    """Create the templates of all scenes, once.

    Raises:
        InputError: A command fails on an undamaged input.
    """
    if (folder / "expected.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _make_images(folder / "images")
    np.savez(folder / "set.npz", allow_pickle=False, **make_arrays())
    environment = process_environment(cache)

    def call(*words: str) -> str:
        done = subprocess.run([*COMMAND, *words], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise InputError(f"{words[0]}: fails on an undamaged input ({done.stderr.strip()[-300:]}); fix that first")
        return done.stdout

    call("train", *TINY, "--out", str(folder / "run"))
    call("study", *STUDY, "--out", str(folder / "study"))
    _make_unfinished(folder / "run", folder / "half")
    expected, image = {}, folder / "images" / "dark" / "0.png"
    for key in EXPECTED:
        command, template = key.split()
        expected[key] = plain_text(call(*reader(command, folder / template, image)), folder / template)
    write_json(folder / "expected.json", expected)


def plain_text(text: str, folder: Path) -> str:
    """Return a command's output without its folder's path, spaces and the lines of tables."""
    text = text.replace(str(folder), "FOLDER")
    return " ".join("".join(c if c.isascii() else " " for c in text).split())


def make_arrays() -> dict[str, np.ndarray]:
    """Return images (60, 8, 8) of three classes that differ in brightness, and their labels (60,)."""
    labels = np.arange(60) % 3
    images = np.random.default_rng(0).integers(0, 80, (60, 8, 8)) + 80 * labels[:, None, None]
    return {"images": images.astype(np.uint8), "labels": labels}


def _make_images(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(1)
    for label, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            pixels = (rng.integers(0, 100, (8, 8)) + 120 * label).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def _make_unfinished(run: Path, half: Path) -> None:
    """Copy a run and leave what a kill in its last epoch leaves."""
    shutil.copytree(run, half)
    for name in ("result.json", "predictions.npz"):
        (half / name).unlink()
    steps = [int(step.name) for step in (half / "checkpoints").iterdir() if step.name.isdigit()]
    if len(steps) < 2:
        raise InputError(f"{str(half / 'checkpoints')!r}: holds {len(steps)} checkpoints; two are needed")
    shutil.rmtree(half / "checkpoints" / str(max(steps)))
    lines = (half / "metrics.jsonl").read_text().splitlines(keepends=True)
    (half / "metrics.jsonl").write_text("".join(lines[:-1]))
