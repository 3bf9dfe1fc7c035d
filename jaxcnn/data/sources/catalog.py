"""From a name to a source: the embedded sets, TFDS, image folders and .npz files; and the list of what is known."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import NamedTuple

from jaxcnn.data.dataset import Source
from jaxcnn.data.sources.embedded import digits_source
from jaxcnn.data.sources.folder import folder_source
from jaxcnn.data.sources.glyphs import glyphs_source
from jaxcnn.data.sources.npz import npz_source
from jaxcnn.data.sources.tfds import find_prepared, prepared_sets, tfds_dir, tfds_source, version_dir
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig

EMBEDDED = {
    "digits": "1,797 handwritten digits, 8x8 grey, 10 classes; ships with scikit-learn",
    "glyphs": "drawn characters of many fonts, any number of classes and images; needs no download",
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
    "cats_vs_dogs": "23,262 photographs of differing size (set size), colour, 2 classes; no test split of its own",
}


class Known(NamedTuple):
    """A data set that can be named: whether it is embedded, prepared, or needs `jaxcnn data prepare`."""

    name: str
    description: str
    state: str


def names(data_dir: str | None = None) -> list[Known]:
    """The embedded sets, those prepared in `data_dir` (None: as `load` looks), and well-known ones that are not yet."""
    known = [Known(name, text, "embedded") for name, text in EMBEDDED.items()]
    prepared = prepared_sets(data_dir)
    known += [Known(name, text, "prepared") for name, text in prepared.items()]
    return known + [Known(name, text, "not prepared") for name, text in POPULAR.items() if name not in prepared]


def find_source(config: DataConfig) -> Source:
    """The source that `config.name` means.

    Raises:
        InputError: There is none of that name; the nearest names are suggested.
    """
    name = config.name
    if name == "digits":
        return digits_source(config.size)
    if name == "glyphs":
        return glyphs_source(classes=config.classes, images=config.images, seed=config.data_seed, size=config.size)
    path, is_path = Path(name).expanduser(), _looks_like_a_path(name)
    if config.data_dir is not None and not tfds_dir(config.data_dir).is_dir():
        raise InputError(f"data_dir={config.data_dir!r} is not a folder; give the one that holds the prepared sets")
    if not is_path and (prepared := find_prepared(name, config.data_dir)) is not None:
        return tfds_source(name, prepared, config.size)
    if path.is_dir() and (prepared := version_dir(path)) is not None:
        return tfds_source(name, prepared, config.size)
    if path.is_dir():
        return folder_source(name, path, config.size)
    if path.suffix == ".npz" and path.is_file():
        return npz_source(name, path, config.size)
    if is_path and not path.exists():
        raise InputError(f"name={name!r} does not exist; give an image folder, an .npz file or the name of a data set")
    raise _unknown(name, config.data_dir)


def _looks_like_a_path(name: str) -> bool:
    return name.endswith(".npz") or name.startswith((".", "~", os.sep))


def _unknown(name: str, data_dir: str | None) -> InputError:
    import tensorflow_datasets as tfds

    base, where = name.partition(":")[0], tfds_dir(data_dir)
    configs = [known for known in prepared_sets(data_dir) if known.startswith(f"{base}/")]
    if configs:
        return InputError(f"name={name!r} has several variants; choose one that is prepared: {', '.join(configs)}")
    registered = tfds.list_builders(with_community_datasets=False)
    if base.split("/")[0] in registered:
        return InputError(
            f"data set {name!r} is not prepared in {str(where)!r}; run `jaxcnn data prepare {name}`, "
            f"or point data_dir or $TFDS_DATA_DIR to where it lies"
        )
    candidates = [*EMBEDDED, *prepared_sets(data_dir), *POPULAR, *registered]
    near = list(dict.fromkeys(difflib.get_close_matches(name, candidates, n=3)))
    hint = f"did you mean {' or '.join(near)}?" if near else "`jaxcnn data` lists the known ones"
    return InputError(f"name={name!r} is no known data set, image folder or .npz file; {hint}")
