"""Generate bad data: image folders, single images and .npz files that a network cannot be trained on, or hardly."""

import io
import os
import random
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.campaigns.damage import damage_bytes, flip_bits
from tests.campaigns.scene import NET, Input, Scene, make_arrays

NAMES = ("a b.png", "ü.png", "💥.png", "-x.png", "new\nline.png", "%s.png", "x.PNG", "y.jpeg", "'q'.png", '"q".png',
         "{}.png")  # fmt: skip


def _encoded(rng: random.Random, form: str, mode: str = "L", side: int = 8) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.frombytes("L", (side, side), rng.randbytes(side * side)).convert(mode).save(file, form)
    return file.getvalue()


def _bomb(rng: random.Random) -> bytes:
    """Return a PNG of a few bytes that claims a billion pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


CONTENTS: dict[str, tuple[Callable[[random.Random], bytes], bool]] = {
    "nothing": (lambda rng: b"", True),
    "text": (lambda rng: b"not an image\n", True),
    "noise": (lambda rng: rng.randbytes(300), True),
    "a PNG's first bytes": (lambda rng: b"\x89PNG\r\n\x1a\n" + rng.randbytes(40), True),
    "half a PNG": (lambda rng: _encoded(rng, "PNG", side=32)[:400], True),
    "half a JPEG": (lambda rng: _encoded(rng, "JPEG", "RGB", 64)[:700], True),
    "a bomb": (_bomb, True),
    "zeros": (lambda rng: bytes(500), True),
    "another size": (lambda rng: _encoded(rng, "PNG", side=9), False),
    "a JPEG": (lambda rng: _encoded(rng, "JPEG"), False),
    "a GIF": (lambda rng: _encoded(rng, "GIF"), False),
    "CMYK": (lambda rng: _encoded(rng, "JPEG", "CMYK"), False),
    "RGBA": (lambda rng: _encoded(rng, "PNG", "RGBA"), False),
    "floats": (lambda rng: _encoded(rng, "TIFF", "F"), False),
    "16 bits": (lambda rng: _encoded(rng, "PNG", "I;16"), False),
    "flipped bits": (lambda rng: flip_bits(rng, _encoded(rng, "PNG"), 1), False),
}
"""Content of an image file -> its bytes, and whether no decoder can read it."""


def _without_classes(rng: random.Random, folder: Path) -> None:
    for file in list(folder.glob("*/*")):
        file.rename(folder / f"{file.parent.name}{file.name}")
    for name in ("dark", "light"):
        (folder / name).rmdir()


def _few(rng: random.Random, folder: Path) -> None:
    for file in sorted(folder.glob("*/*"))[rng.choice((1, 2, 3)) :]:
        file.unlink()


MISPLACED: dict[str, tuple[Callable[[random.Random, Path], Any], bool]] = {
    "class without images": (lambda rng, folder: (folder / "third").mkdir(), True),
    "odd class": (lambda rng, folder: shutil.copytree(folder / "dark", folder / "ü 💥"), False),
    "one class": (lambda rng, folder: shutil.rmtree(folder / "light"), True),
    "no class": (_without_classes, True),
    "few": (_few, True),
    "image as folder": (lambda rng, folder: (folder / "dark" / "folder.png").mkdir(), False),
    "dangling link": (lambda rng, folder: (folder / "dark" / "link.png").symlink_to(folder / "gone.png"), True),
    "loop": (lambda rng, folder: (folder / "dark" / "up").symlink_to(folder), False),
    "hidden": (lambda rng, folder: (folder / "dark" / ".hidden.png").write_bytes(b"x"), False),
    "train without a class": (lambda rng, folder: shutil.copytree(folder / "dark", folder / "train" / "dark"), True),
    "file beside": (lambda rng, folder: (folder / "Thumbs.db").write_bytes(b"x"), False),
    "text among images": (lambda rng, folder: (folder / "dark" / "notes.txt").write_text("mine"), False),
    "fifo": (lambda rng, folder: os.mkfifo(folder / "dark" / "pipe.png"), True),
    "deep": (lambda rng, folder: os.renames(folder / "dark" / "0.png", folder / "dark" / "a" / "b" / "0.png"), False),
}
"""Description -> how to misplace files in a valid image folder, and whether the result must be refused."""


def images(rng: random.Random, scene: Scene) -> Input:
    """Train on, or list, an image folder with something wrong in it."""
    folder = scene.copy("images")
    if rng.random() < 0.7:
        name = rng.choice(("0.png", "7.png", *NAMES))
        file, what = folder / rng.choice(("dark", "light")) / name, rng.choice(sorted(CONTENTS))
        make, invalid = CONTENTS[what]
        file.write_bytes(make(rng))
        names: tuple[str, ...] = (file.name, repr(file.name)[1:-1], "differ in size")
    else:
        what = rng.choice(sorted(MISPLACED))
        change, invalid = MISPLACED[what]
        change(rng, folder)
        names = ("third", "light", "train", "link.png", "pipe.png", "class", "images")
    skip = ("--data.on-bad", "skip") if rng.random() < 0.25 else ()
    size = ("--data.size", "8") if rng.random() < 0.25 else ()
    about, names = " ".join([what, *skip, *size]), (*names, str(folder))
    invalid = invalid and not (skip and what in (*CONTENTS, "dangling link"))
    if rng.random() < 0.65:
        words = ("data", str(folder), *(word.replace("--data.", "--") for word in (*skip, *size)))
        return Input(words, names, f"data: {about}", invalid)
    return Input(("train", *NET, "--data", str(folder), *skip, *size), names, f"train: {about}", invalid)


def predicted(rng: random.Random, scene: Scene) -> Input:
    """Predict the class of a file that may not be an image."""
    what = rng.choice(sorted(CONTENTS))
    make, invalid = CONTENTS[what]
    file = scene.root / rng.choice(NAMES).lstrip("-")
    file.write_bytes(make(rng))
    files = [str(file), str(scene.image)]
    rng.shuffle(files)
    top = ("--top", rng.choice(("0", "-1", "99"))) if rng.random() < 0.3 else ()
    words = ("predict", str(scene.templates / "run"), *files, *top)
    return Input(words, (file.name, repr(file.name)[1:-1], "top"), f"predict: {what}, {file.name!r}", invalid)


Change = Callable[[dict[str, Any]], None]


def _set(key: str, change: Callable[[np.ndarray], Any]) -> Change:
    return lambda data: data.update({key: change(data[key])})


def _put(**arrays: np.ndarray) -> Change:
    return lambda data: data.update(arrays)


def _rename(**names: str | None) -> Change:
    def change(data: dict[str, Any]) -> None:
        for old, new in names.items():
            array = data.pop(old)
            if new is not None:
                data[new] = array

    return change


ARRAYS: dict[str, tuple[Callable[[dict[str, Any]], None], bool]] = {
    "objects": (_put(images=np.array([{"a": 1}] * 60, object)), True),
    "object labels": (_set("labels", lambda a: a.astype(object)), True),
    "flat images": (_set("images", lambda a: a.reshape(60, 64)), True),
    "five dimensions": (_set("images", lambda a: a[:, :, :, None, None]), True),
    "channels first": (_set("images", lambda a: np.stack([a] * 3, 1)), True),
    "two channels": (_set("images", lambda a: np.stack([a] * 2, -1)), False),
    "a scalar": (_set("images", lambda a: np.uint8(3)), True),
    "no images": (_rename(images=None), True),
    "no labels": (_rename(labels=None), True),
    "other names": (_rename(images="x", labels="y"), True),
    "empty": (lambda data: data.update(images=data["images"][:0], labels=data["labels"][:0]), True),
    "no pixels": (_set("images", lambda a: a[:, :0]), True),
    "fewer labels": (_set("labels", lambda a: a[:50]), True),
    "column of labels": (_set("labels", lambda a: a[:, None]), False),
    "one-hot labels": (_set("labels", lambda a: np.eye(3)[a]), True),
    "negative labels": (_set("labels", lambda a: a - 1), True),
    "labels from 1": (_set("labels", lambda a: a + 1), True),
    "a gap in the labels": (_set("labels", lambda a: np.where(a == 1, 7, a)), True),
    "huge labels": (_set("labels", lambda a: a * 10**15), True),
    "broken labels": (_set("labels", lambda a: a + 0.5), True),
    "NaN labels": (_set("labels", lambda a: np.where(a == 1, np.nan, a)), True),
    "infinite labels": (_set("labels", lambda a: np.where(a == 1, np.inf, a)), True),
    "words as labels": (_set("labels", lambda a: a.astype(str)), True),
    "complex labels": (_set("labels", lambda a: a.astype(complex)), True),
    "one class": (_set("labels", lambda a: a * 0), True),
    "NaN pixels": (_set("images", lambda a: np.where(a > 100, np.nan, a / 255)), True),
    "infinite pixels": (_set("images", lambda a: np.where(a > 100, np.inf, a / 255)), True),
    "pixels above 1": (_set("images", lambda a: a / 25.5), True),
    "negative pixels": (_set("images", lambda a: a.astype(int) - 300), True),
    "wide pixels": (_set("images", lambda a: a.astype(np.uint16) * 257), True),
    "words as pixels": (_set("images", lambda a: a.astype(str)), True),
    "dates": (_set("images", lambda a: a.astype("datetime64[s]")), True),
    "records": (_set("images", lambda a: np.zeros(60, [("a", "u1"), ("b", "f4")])), True),
    "bytes swapped": (_set("images", lambda a: a.astype(">u2")), False),
    "turned in memory": (_set("images", np.asfortranarray), False),
    "bits": (_set("images", lambda a: a > 100), False),
    "constant": (_set("images", lambda a: a * 0), False),
    "few": (lambda data: data.update(images=data["images"][:4], labels=np.array([0, 1, 2, 0])), False),
    "too few names": (_put(class_names=np.array(["a"])), True),
    "names as objects": (_put(class_names=np.array(["a", None, 3], object)), True),
    "a name for all": (_put(class_names=np.array("abc")), True),
    "test of another size": (_rename(images="x_train", labels="y_train"), False),
}
"""Description -> how to change valid arrays, and whether the result cannot be a data set."""


def npz(rng: random.Random, scene: Scene) -> Input:
    """Train on, or list, an .npz file that is damaged or whose arrays are not a data set."""
    file, data = scene.root / "set.npz", dict[str, Any](make_arrays())
    if rng.random() < 0.35:
        np.savez(file, **data)
        what = damage_bytes(rng, file)
        invalid = what in ("empty", "gone", "text", "folder")
    else:
        what = rng.choice(sorted(ARRAYS))
        change, invalid = ARRAYS[what]
        change(data)
        if what == "test of another size":
            data |= {"x_test": np.zeros((5, 9, 9), np.uint8), "y_test": np.arange(5) % 3}
        (np.savez_compressed if rng.random() < 0.5 else np.savez)(file, **data)
        if rng.random() < 0.05:
            what = f"{what}, and a stray member"
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr("../../stray.npy", b"x")
    command = ("data", str(file)) if rng.random() < 0.75 else ("train", *NET, "--data", str(file))
    return Input(command, ("set.npz", "class_names", "validation"), f"{command[0]}: {what}", invalid)
