"""The catalogue: from a name to a source, and the list of data sets that can be named; scikit-learn's digits."""

import difflib
import os
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcnn.data.dataset import Example, Pool, Source, fit_identity
from jaxcnn.data.decode import resize_array
from jaxcnn.data.groups import writer_blocks
from jaxcnn.data.sources.annotated import annotated_source
from jaxcnn.data.sources.coco import coco_files, read_coco
from jaxcnn.data.sources.folder import folder_source
from jaxcnn.data.sources.glyphs import glyphs_source
from jaxcnn.data.sources.lines import PREFIX, lines_source
from jaxcnn.data.sources.masks import has_mask_folders, masks_source
from jaxcnn.data.sources.npz import npz_source
from jaxcnn.data.sources.scenes import scene_masks_source, scenes_source
from jaxcnn.data.sources.tfds import find_prepared, prepared_sets, tfds_dir, tfds_source, version_dir
from jaxcnn.data.sources.voc import read_voc, voc_folder
from jaxcnn.data.sources.yolo import read_yolo, yolo_folders
from jaxcnn.errors import InputError, did_you_mean, require, similar_paths
from jaxcnn.spec import DataConfig, Size

EMBEDDED = {
    "digits": "1,797 handwritten digits, 8x8 grey, 10 classes; part of scikit-learn",
    "glyphs": "drawn characters of many fonts, any number of classes and images; needs no download",
    "glyph_scenes": "scenes of several drawn characters with boxes, any number of classes and images",
    "glyph_masks": "the same scenes with masks instead of boxes",
}

POPULAR = {
    "mnist": "70,000 handwritten digits, 28x28 grey, 10 classes",
    "fashion_mnist": "70,000 articles of clothing, 28x28 grey, 10 classes",
    "kmnist": "70,000 cursive Japanese characters, 28x28 grey, 10 classes",
    "emnist/letters": "103,600 handwritten letters, 28x28 grey, 26 classes",
    "emnist/balanced": "131,600 handwritten characters, 28x28 grey, 47 classes",
    "cifar10": "60,000 photographs, 32x32 colour, 10 classes",
    "cifar100": "60,000 photographs, 32x32 colour, 100 classes",
    "svhn_cropped": "99,289 house numbers, 32x32 colour, 10 classes",
    "cats_vs_dogs": "23,262 photographs of different sizes (set size), colour, 2 classes; has no test split",
}


class CatalogEntry(NamedTuple):
    """A data set that can be named; its state is embedded, prepared, or not prepared (`jaxcnn data prepare`)."""

    name: str
    description: str
    state: str


def names(data_dir: str | None = None) -> list[CatalogEntry]:
    """List the embedded sets, those prepared in `data_dir` (None: as in `load`), and popular ones that are not yet.

    >>> [entry.name for entry in names() if entry.state == "embedded"]
    ['digits', 'glyphs', 'glyph_scenes', 'glyph_masks']
    """
    prepared = prepared_sets(data_dir)
    others = {name: text for name, text in POPULAR.items() if name not in prepared}
    states = {"embedded": EMBEDDED, "prepared": prepared, "not prepared": others}
    return [CatalogEntry(name, text, state) for state, sets in states.items() for name, text in sets.items()]


def located(config: DataConfig) -> DataConfig:
    """Return a config whose paths are absolute: it names the same images in every working folder."""
    name, path, folder = config.name, Path(config.name).expanduser(), config.data_dir
    is_set = name in EMBEDDED or (not _is_path(name) and find_prepared(name, folder) is not None)
    return replace(
        config,
        name=name if is_set or not path.exists() else os.path.abspath(path),
        data_dir=None if folder is None else os.path.abspath(Path(folder).expanduser()),
    )


def _is_path(name: str) -> bool:
    return name.endswith((".npz", ".csv", ".json")) or name.startswith((".", "~", os.sep))


def find_source(config: DataConfig) -> Source:
    """Return the source that `config.name` refers to, or raise an InputError that suggests similar names."""
    name = config.name
    require(bool(name.strip()), "name", repr(name), "it is empty; give a data set, or . for the images of this folder")
    if name == "digits":
        return digits_source(config.size, config.fit)
    if name == "glyphs":
        return glyphs_source(classes=config.classes, images=config.images, seed=config.data_seed, size=config.size)
    if name.startswith(PREFIX):
        characters = find_source(replace(config, name=name.removeprefix(PREFIX), size=None, fit="squash"))
        return lines_source(characters, name, images=config.images, seed=config.data_seed, size=config.size)
    if name in ("glyph_scenes", "glyph_masks"):
        scenes = scenes_source if name == "glyph_scenes" else scene_masks_source
        return scenes(classes=config.classes, images=config.images, seed=config.data_seed, size=config.size)
    path, is_path = Path(name).expanduser(), _is_path(name)
    if config.data_dir is not None and not tfds_dir(config.data_dir).is_dir():
        raise InputError(f"data_dir={config.data_dir!r} is not a folder; give the folder that holds the prepared sets")
    if prepared := (None if is_path else find_prepared(name, config.data_dir)) or version_dir(path):
        return tfds_source(name, prepared, config.size, config.fit, config.ignore)
    if path.exists() and (its := _annotated(name, path, config)):
        return its
    if path.is_dir() and has_mask_folders(path):
        return masks_source(name, path, config.size, config.fit, config.ignore)
    if config.ignore:
        raise InputError(f"ignore={config.ignore}: data set {name!r} has no masks; leave it out")
    if path.is_dir() or (path.suffix == ".csv" and path.is_file()):
        return folder_source(name, path, config.size, config.fit)
    if path.suffix == ".npz" and path.is_file():
        return npz_source(name, path, config.size, config.fit)
    if is_path and not path.exists():
        near = similar_paths(path)
        raise InputError(
            f"name={name!r} does not exist; give an image folder, an .npz, .csv or .json file, or a name{near}"
        )
    import tensorflow_datasets as tfds

    base, prepared = name.partition(":")[0], prepared_sets(config.data_dir)
    if variants := [known for known in prepared if known.startswith(f"{base}/")]:
        raise InputError(f"name={name!r} has several variants; choose one that is prepared: {', '.join(variants)}")
    registered = tfds.list_builders(with_community_datasets=False)
    if base.split("/")[0] in registered:
        raise InputError(
            f"data set {name!r} is not prepared in {str(tfds_dir(config.data_dir))!r}; run `jaxcnn data prepare "
            f"{name}`, or give data_dir=FOLDER, the one that holds it, or set $TFDS_DATA_DIR"
        )
    near = difflib.get_close_matches(name, dict.fromkeys([*EMBEDDED, *prepared, *POPULAR, *registered]), n=3)
    hint = similar_paths(path) or did_you_mean(near) or "; `jaxcnn data` lists the known ones"
    raise InputError(f"name={name!r} is not a known data set, image folder, .npz, .csv or .json file{hint}")


def is_annotated(path: Path) -> bool:
    """Return whether a folder or file has boxes in one of the formats that are read."""
    return bool(coco_files(path)) or (path.is_dir() and bool(yolo_folders(path) or voc_folder(path)))


def _annotated(name: str, path: Path, config: DataConfig) -> Source | None:
    """Return a folder or JSON file with boxes in COCO's, YOLO's or Pascal VOC's format as a source, or None."""
    if coco_files(path):
        root, read = read_coco(path)
        return annotated_source(name, root, read, config.size, config.fit)
    if not path.is_dir():
        return None
    if yolo_folders(path):
        return annotated_source(name, path, read_yolo(path), config.size, config.fit)
    if voc_folder(path):
        return annotated_source(name, path, read_voc(path), config.size, config.fit)
    return None


def digits_source(size: Size | None = None, fit: str = "squash") -> Source:
    """Return scikit-learn's 1,797 digits of 8x8 pixels: 1,137 train, 300 validation and 360 test, fixed by index.

    E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998.
    """

    def groups(feature: str) -> np.ndarray:
        if feature != "writers":
            raise InputError(f"groups={feature!r}: the digits have writers only; give groups=writers")
        return writer_blocks()

    def read() -> Iterator[Example]:
        # Importing scikit-learn takes 2 s, reading its file 0.05 s.
        file = distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
        table = np.loadtxt(str(file), delimiter=",")
        pixels, labels = table[:, :-1], table[:, -1]
        images = np.rint(pixels.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield Example(f"digits[{i}]", resize_array(image, size, fit), int(label))

    identity, carve = {"name": "digits", "size": size} | fit_identity(fit), {"validation": 300, "test": 360}
    return Source(
        "digits", "scikit-learn", identity, tuple("0123456789"), {"train": Pool(1797, read, groups=groups)}, carve
    )
