"""Boxes of YOLO's text files: images/a.jpg beside labels/a.txt, a line an object: class, centre, width, height."""

import ast
import re
from pathlib import Path

import numpy as np

from jaxcnn.data.messages import one_line
from jaxcnn.data.sources.annotated import Annotated, AnnotatedSet, annotated
from jaxcnn.data.sources.folder import list_images, split_named
from jaxcnn.errors import InputError

HINT = "; YOLO stores centre x, centre y, width, height as shares of the image: were corners or pixels written instead?"
NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
YAML_FILES = ("data.yaml", "dataset.yaml", "data.yml")


def yolo_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return the folders of images and of labels of each split of a set in YOLO's format; empty if it is none.

    images/train beside labels/train, train/images beside train/labels, or images beside labels.
    """
    images, labels = root / "images", root / "labels"
    if images.is_dir() and labels.is_dir():
        inner = {
            split: path for path in sorted(images.iterdir()) if path.is_dir() and (split := split_named(path.name))
        }
        if "train" in inner:
            found = {split: (path, labels / path.name) for split, path in inner.items()}
        else:
            found = {"train": (images, labels)}
    else:
        try:
            parts = {split: path for path in sorted(root.iterdir()) if (split := split_named(path.name))}
        except OSError:
            return {}
        found = {
            split: (path / "images", path / "labels") for split, path in parts.items() if (path / "labels").is_dir()
        }
    has_text = "train" in found and any(found["train"][1].rglob("*.txt"))
    return found if has_text else {}


def read_yolo(root: Path) -> AnnotatedSet:
    """Return the images of a set in YOLO's format.

    An image without a text file has no objects, as in YOLO. A line with more than five numbers is a polygon, whose box
    is taken. Names of the classes are those of classes.txt, obj.names or data.yaml; without them their numbers.

    Raises:
        InputError: The names cannot be read.
    """
    folders, names = yolo_folders(root), class_names(root)
    splits, files, most = {}, [*_name_files(root)], -1
    for split, (images, labels) in folders.items():
        read = []
        for path in list_images(root, images, lambda *_: None):
            file = labels / Path(path).relative_to(images.relative_to(root)).with_suffix(".txt")
            read.append(_image(path, file, None if names is None else len(names)))
            most = max(most, int(read[-1].labels.max(initial=-1)))
            files.append(file)
        splits[split] = read
    if names is None:
        names = tuple(map(str, range(most + 1)))
    return AnnotatedSet(names, splits, files, HINT)


def class_names(root: Path) -> tuple[str, ...] | None:
    """Return the names of the classes of a set in YOLO's format, or None where no file has them."""
    for file in _name_files(root):
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{str(file)!r} cannot be read ({one_line(error)}); save it in UTF-8") from None
        names = _yaml_names(text) if file.name in YAML_FILES else [line.strip() for line in text.splitlines()]
        names = [name for name in names if name]
        if not names or len(set(names)) < len(names):
            raise InputError(f"{str(file)!r} must name each class once; the first name is that of class 0")
        return tuple(names)
    return None


def _name_files(root: Path) -> list[Path]:
    return [root / name for name in (*NAME_FILES, *YAML_FILES) if (root / name).is_file()]


def _yaml_names(text: str) -> list[str]:
    """Return the names in a data.yaml, which writes them as [a, b], as lines "- a", or as lines "0: a"."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if match := re.match(r"names\s*:\s*(.*)", line):
            inline = match[1].split(" #")[0].strip()
            if inline.startswith("["):
                try:
                    return [str(name) for name in ast.literal_eval(inline)]
                except (ValueError, SyntaxError):  # names without quotes
                    return [name.strip().strip("'\"") for name in inline.strip("[]").split(",")]
            block = []
            for following in lines[number + 1 :]:
                its = re.match(r"\s*(?:-|\d+\s*:)\s*(.+?)\s*$", following)
                if not its:
                    break
                block.append(its[1].split(" #")[0].strip("'\""))
            return block
    return []


def _image(path: str, file: Path, classes: int | None) -> Annotated:
    if not file.is_file():
        return annotated(path, relative=True)
    boxes, labels = [], []
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
            if not line.strip():
                continue
            label, *numbers = (float(word) for word in line.split())
            if label != int(label) or label < 0 or (classes is not None and label >= classes):
                reason = f"line {number} of {file.name!r} has the class {label:g}, which is none of {classes}"
                return annotated(path, problem=(reason, "box_label"))
            if len(numbers) == 4:
                x, y, width, height = numbers
                boxes.append((y - height / 2, x - width / 2, y + height / 2, x + width / 2))
            elif len(numbers) >= 6 and len(numbers) % 2 == 0:
                points = np.array(numbers).reshape(-1, 2)
                (x, y), (right, bottom) = points.min(axis=0), points.max(axis=0)
                boxes.append((y, x, bottom, right))
            else:
                raise ValueError(f"line {number} has {len(numbers) + 1} numbers, not 5")
            labels.append(int(label))
    except (OSError, ValueError, OverflowError) as error:
        return annotated(
            path, problem=(f"its labels {file.name!r} cannot be read ({one_line(error)})", "boxes_damaged")
        )
    return annotated(path, boxes, labels, relative=True)
