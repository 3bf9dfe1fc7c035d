"""Boxes of Pascal VOC's XML files: Annotations/*.xml beside JPEGImages, or XML files beside their images."""

import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jaxcnn.data.messages import one_line
from jaxcnn.data.sources.annotated import Annotated, AnnotatedSet, annotated
from jaxcnn.data.sources.folder import list_images
from jaxcnn.errors import InputError

HINT = "; VOC stores the corners xmin, ymin, xmax, ymax: were x, y, width, height written instead?"
IMAGES = ("JPEGImages", "images", "Images", ".")
SPLIT_FILES = {"train": "train", "val": "validation", "test": "test"}


def voc_folder(root: Path) -> Path | None:
    """Return the folder of a set's XML files, or None if it has none."""
    for name in ("Annotations", "annotations", "."):
        if (root / name).is_dir() and any((root / name).glob("*.xml")):
            return root / name
    return None


def read_voc(root: Path) -> AnnotatedSet:
    """Return the images of a set in Pascal VOC's format.

    Corners count pixels from 1 and are inclusive: xmin 1, xmax 1 is one pixel. Classes are the names that occur in
    training images, sorted. `difficult` objects count neither way. Splits are those of ImageSets/Main; without them all
    images are training images.

    Raises:
        InputError: There is no XML file, or a split names an image that is not there.
    """
    folder = voc_folder(root)
    assert folder is not None
    images = next(root / name for name in IMAGES if (root / name).is_dir())
    by_stem = {Path(path).stem: path for path in list_images(root, images, lambda *_: None)}
    splits = _splits(root, by_stem)
    parsed = {stem: _parse(folder / f"{stem}.xml") for its in splits.values() for stem in its}
    names = tuple(sorted({name for stem in splits["train"] for name, *_ in parsed[stem]["objects"]}))
    ids = {name: label for label, name in enumerate(names)}
    read = {split: [_image(by_stem[stem], parsed[stem], ids) for stem in its] for split, its in splits.items()}
    return AnnotatedSet(names, read, sorted(folder.glob("*.xml")), HINT)


def _splits(root: Path, by_stem: dict[str, str]) -> dict[str, list[str]]:
    listed: dict[str, list[str]] = {}
    for name, split in SPLIT_FILES.items():
        file = root / "ImageSets" / "Main" / f"{name}.txt"
        if file.is_file():
            try:
                listed[split] = [
                    line.split()[0] for line in file.read_text(encoding="utf-8").splitlines() if line.split()
                ]
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{str(file)!r} cannot be read ({one_line(error)}); write it again") from None
            if missing := [stem for stem in listed[split] if stem not in by_stem]:
                raise InputError(f"{str(file)!r} names {missing[0]!r}, of which there is no image; remove that line")
    return listed if "train" in listed else {"train": sorted(by_stem)}


def _parse(file: Path) -> dict[str, Any]:
    """Return the objects (name, corners, difficult) and the size of an XML file, or why it cannot be used."""
    about: dict[str, Any] = {"objects": [], "size": None, "problem": None}
    if not file.is_file():
        about["problem"] = (f"it has no annotation {os.path.join(file.parent.name, file.name)!r}", "missing_boxes")
        return about
    try:
        tree = ElementTree.fromstring(file.read_bytes())
        sides = tuple(int(tree.findtext(f"size/{name}") or 0) for name in ("height", "width"))
        about["size"] = sides if all(sides) else None
        for each in tree.iter("object"):
            x, y, right, bottom = (float(each.findtext(f"bndbox/{name}") or "nan") for name in
                                   ("xmin", "ymin", "xmax", "ymax"))  # fmt: skip
            name = (each.findtext("name") or "").strip()
            if not name:
                raise ValueError("an object has no name")
            difficult = (each.findtext("difficult") or "0").strip() == "1"
            about["objects"].append((name, (y - 1, x - 1, bottom, right), difficult))
    except (OSError, ValueError, ElementTree.ParseError) as error:
        about["problem"] = (f"its annotation {file.name!r} cannot be read ({one_line(error)})", "boxes_damaged")
    return about


def _image(path: str, about: dict[str, Any], ids: dict[str, int]) -> Annotated:
    its, problem = about["objects"], about["problem"]
    if unknown := [name for name, *_ in its if name not in ids]:
        problem = problem or (f"its object {unknown[0]!r} is of no class of the training images", "box_label")
    if problem:
        return annotated(path, problem=problem)
    return annotated(
        path,
        [box for _, box, _ in its],
        [ids[name] for name, *_ in its],
        [hard for *_, hard in its],
        size=about["size"],
    )
