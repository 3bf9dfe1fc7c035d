"""Generated data that a network cannot be trained on, or hardly: folders of images, single images, .npz files."""

import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from damage import damage_bytes
from scenes import NET, Input, Scene, arrays

MISPLACED = (
    "class without images", "one class", "no class", "image as folder", "dangling link", "loop", "hidden",
    "train without a class", "files beside", "fifo", "deep", "odd class", "few",
)  # fmt: skip
NAMES = (
    "a b.png",
    "ü.png",
    "💥.png",
    "-x.png",
    "new\nline.png",
    "%s.png",
    "x.PNG",
    "y.jpeg",
    "'q'.png",
    '"q".png',
    "{}.png",
)


def _encoded(rng: random.Random, form: str, mode: str = "L", side: int = 8) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.frombytes("L", (side, side), rng.randbytes(side * side)).convert(mode).save(file, form)
    return file.getvalue()


def _bomb(rng: random.Random) -> bytes:
    """A PNG of a few bytes that says it has a billion pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


# What an image's file may hold -> (its bytes, whether no decoder can make an image of it).
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
    "turned bits": (lambda rng: _turned(rng, _encoded(rng, "PNG", side=8)), False),
}


def _turned(rng: random.Random, held: bytes) -> bytes:
    turned = bytearray(held)
    turned[rng.randrange(len(turned))] ^= 1 << rng.randrange(8)
    return bytes(turned)


def images(rng: random.Random, scene: Scene) -> Input:
    """A folder of images with something wrong in it."""
    folder = scene.copy("images")
    if rng.random() < 0.7:
        name = rng.choice(("0.png", "7.png", *NAMES))
        file, what = folder / rng.choice(("dark", "light")) / name, rng.choice(sorted(CONTENTS))
        make, must = CONTENTS[what]
        file.write_bytes(make(rng))
        names: tuple[str, ...] = (file.name, repr(file.name)[1:-1], "differ in size")
    else:
        what, must, names = _misplaced(rng, folder)
    skip = ("--data.on-bad", "skip") if rng.random() < 0.25 else ()
    size = ("--data.size", "8") if rng.random() < 0.25 else ()
    about = " ".join([what, *skip, *size])
    must = must and not (skip and what in (*CONTENTS, "dangling link"))
    if rng.random() < 0.65:
        words = ("data", str(folder), *(word.replace("--data.", "--") for word in (*skip, *size)))
        return Input(words, (*names, str(folder)), f"data: {about}", must)
    return Input(("train", *NET, "--data", str(folder), *skip, *size), (*names, str(folder)), f"train: {about}", must)


def _misplaced(rng: random.Random, folder: Path) -> tuple[str, bool, tuple[str, ...]]:
    """Files and folders that are not where they should be: (what, whether it must be refused, names)."""
    what = rng.choice(MISPLACED)
    dark, light = folder / "dark", folder / "light"
    if what in ("class without images", "odd class"):
        (folder / "third").mkdir()
        if what == "odd class":
            (folder / "third").rename(folder / "ü 💥")
            (folder / "ü 💥" / "0.png").write_bytes((dark / "0.png").read_bytes())
    elif what in ("one class", "no class"):
        for file in (*light.iterdir(), *(dark.iterdir() if what == "no class" else ())):
            file.rename(folder / f"{file.parent.name}{file.name}")
        light.rmdir()
        if what == "no class":
            dark.rmdir()
    elif what == "image as folder":
        (dark / "folder.png").mkdir()
    elif what == "dangling link":
        (dark / "link.png").symlink_to(folder / "gone.png")
    elif what == "loop":
        (dark / "up").symlink_to(folder)
    elif what == "hidden":
        (dark / ".hidden.png").write_bytes(b"x")
    elif what == "train without a class":
        inner = folder / "train"
        inner.mkdir()
        dark.rename(inner / "dark")
    elif what == "files beside":
        (folder / "Thumbs.db").write_bytes(b"x")
        (dark / "notes.txt").write_text("mine")
    elif what == "fifo":
        os.mkfifo(dark / "pipe.png")
    elif what == "deep":
        (dark / "a" / "b" / "c").mkdir(parents=True)
        (dark / "0.png").rename(dark / "a" / "b" / "c" / "0.png")
    elif what == "few":
        for file in [file for place in (dark, light) for file in place.iterdir()][rng.choice((1, 2, 3)) :]:
            file.unlink()
    must = what in (
        "class without images",
        "one class",
        "no class",
        "dangling link",
        "train without a class",
        "fifo",
        "few",
    )
    return what, must, ("third", "light", "train", "link.png", "pipe.png", "class", "images")


def predicted(rng: random.Random, scene: Scene) -> Input:
    """`predict` of an image that may be none."""
    what = rng.choice(sorted(CONTENTS))
    make, must = CONTENTS[what]
    file = scene.root / rng.choice(NAMES).lstrip("-")
    file.write_bytes(make(rng))
    files = [str(file), str(scene.image)]
    rng.shuffle(files)
    words = (
        "predict",
        str(scene.templates / "run"),
        *files,
        *(("--top", rng.choice(("0", "-1", "99"))) if rng.random() < 0.3 else ()),
    )
    return Input(words, (file.name, repr(file.name)[1:-1], "top"), f"predict: {what}, {file.name!r}", must)


def _object(found: dict[str, Any]) -> None:
    found["images"] = np.array([{"a": 1}] * 60, object)


def _set(key: str, change: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any]], None]:
    def changed(found: dict[str, Any]) -> None:
        found[key] = change(found[key])

    return changed


def _drop(*keys: str, **more: Any) -> Callable[[dict[str, Any]], None]:
    def changed(found: dict[str, Any]) -> None:
        for key in keys:
            found[more.get(key, "")] = found.pop(key)
        found.pop("", None)

    return changed


def _put(**more: Any) -> Callable[[dict[str, Any]], None]:
    return lambda found: found.update(more)


# What the arrays may be -> (how they become so, whether they cannot be a data set).
ARRAYS: dict[str, tuple[Callable[[dict[str, Any]], None], bool]] = {
    "objects": (_object, True),
    "object labels": (_set("labels", lambda a: a.astype(object)), True),
    "flat images": (_set("images", lambda a: a.reshape(60, 64)), True),
    "five dimensions": (_set("images", lambda a: a[:, :, :, None, None]), True),
    "channels first": (_set("images", lambda a: np.stack([a] * 3, 1)), True),
    "two channels": (_set("images", lambda a: np.stack([a] * 2, -1)), False),
    "a scalar": (_set("images", lambda a: np.uint8(3)), True),
    "no images": (_drop("images"), True),
    "no labels": (_drop("labels"), True),
    "other names": (_drop("images", "labels", images="x", labels="y"), True),
    "empty": (lambda found: found.update(images=found["images"][:0], labels=found["labels"][:0]), True),
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
    "few": (lambda found: found.update(images=found["images"][:4], labels=np.array([0, 1, 2, 0])), False),
    "too few names": (_put(class_names=np.array(["a"])), True),
    "names as objects": (_put(class_names=np.array(["a", None, 3], object)), True),
    "a name for all": (_put(class_names=np.array("abc")), True),
    "test of another size": (_drop("images", "labels", images="x_train", labels="y_train"), False),
}


def npz(rng: random.Random, scene: Scene) -> Input:
    """An .npz file that is damaged, or whose arrays are no data set."""
    file, found = scene.root / "set.npz", dict[str, Any](arrays())
    if rng.random() < 0.35:
        np.savez(file, **found)
        how, must = damage_bytes(rng, file), False
        must = how in ("empty", "gone", "text", "folder")
    else:
        how = rng.choice(sorted(ARRAYS))
        change, must = ARRAYS[how]
        change(found)
        if how == "test of another size":
            found |= {"x_test": np.zeros((5, 9, 9), np.uint8), "y_test": np.arange(5) % 3}
        (np.savez_compressed if rng.random() < 0.5 else np.savez)(file, **found)
        if rng.random() < 0.05:
            how = f"{how}, and a stray member"
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr("../../stray.npy", b"x")
    command = ("data", str(file)) if rng.random() < 0.75 else ("train", *NET, "--data", str(file))
    return Input(command, ("set.npz", "class_names", "validation"), f"{command[0]}: {how}", must)
