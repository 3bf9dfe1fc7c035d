"""Sets in the format of tensorflow-datasets (array_record form), read without TensorFlow."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.cache import remembered
from jaxcnn.data.dataset import BadImage, Example, Pool, Source
from jaxcnn.data.decode import decode_image, ordered_map
from jaxcnn.errors import InputError

SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}

_DIGITS, _UPPER, _LOWER = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
EMNIST_CLASSES = {
    "letters": _UPPER,
    "digits": _DIGITS,
    "mnist": _DIGITS,
    "byclass": _DIGITS + _UPPER + _LOWER,
    "bymerge": _DIGITS + _UPPER + "abdefghnqrt",
    "balanced": _DIGITS + _UPPER + "abdefghnqrt",
}
"""Characters behind EMNIST's labels, which TFDS calls by their numbers. Cohen et al. 2017, arXiv:1702.05373."""


def tfds_dir(data_dir: str | os.PathLike[str] | None) -> Path:
    """`data_dir`, else $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    if data_dir is not None:
        return Path(data_dir).expanduser()
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def version_dir(folder: Path, version: str | None = None) -> Path | None:
    """The newest prepared version below `folder` (or `folder` itself, where it is one), or None."""
    if (folder / "dataset_info.json").is_file() and (folder / "features.json").is_file():
        return folder
    if not folder.is_dir():
        return None
    found = [
        path
        for path in folder.iterdir()
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name) and (path / "dataset_info.json").is_file()
    ]
    if version is not None:
        found = [path for path in found if path.name == version]
    return max(found, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def find_prepared(name: str, data_dir: str | None) -> Path | None:
    """The folder of a prepared set by its TFDS name: mnist, emnist/letters, mnist:3.0.1."""
    base, _, version = name.partition(":")
    return version_dir(tfds_dir(data_dir) / base, version or None)


def prepared_sets(data_dir: str | None = None) -> dict[str, str]:
    """Image classification sets that lie prepared in `data_dir`: name -> sizes, shape and classes in one line."""
    root, found = tfds_dir(data_dir), {}
    if not root.is_dir():
        return found
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        variants = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in ".0123456789")
        for candidate in (folder, *variants):
            where = version_dir(candidate)
            if where is not None and (summary := describe(where)):
                found[candidate.relative_to(root).as_posix()] = summary
    return found


def describe(folder: Path) -> str | None:
    """Sizes, shape and classes of a prepared set in one line; None where `load` cannot read it."""
    try:
        info = json.loads((folder / "dataset_info.json").read_text())
        features = json.loads((folder / "features.json").read_text())
        keys = classification_keys(features)
        sizes = {split["name"]: sum(map(int, split.get("shardLengths", ()))) for split in info["splits"]}
        if keys is None or "train" not in sizes or info.get("fileFormat") != "array_record":
            return None
        image, label = (features["featuresDict"]["features"][key] for key in keys)
        shape = [side if side != "-1" else "?" for side in image["image"]["shape"]["dimensions"]]
        classes = len(EMNIST_CLASSES.get(folder.parent.name, ())) or label["classLabel"]["numClasses"]
        counts = ", ".join(f"{count:,} {split}" for split, count in sizes.items())
        return f"{counts}; {'x'.join(shape)}; {classes} classes"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def classification_keys(features: dict[str, Any]) -> tuple[str, str] | None:
    """The image and label features of a set's features.json, or None where it is no image classification set."""
    fields = features.get("featuresDict", {}).get("features", {})
    kinds = {key: value.get("pythonClassName", "").rsplit(".", 1)[-1] for key, value in fields.items()}
    images = [key for key, kind in kinds.items() if kind == "Image"]
    labels = [key for key, kind in kinds.items() if kind == "ClassLabel"]
    image = "image" if "image" in images else images[0] if len(images) == 1 else None
    label = "label" if "label" in labels else labels[0] if len(labels) == 1 else None
    return (image, label) if image and label else None


def tfds_source(name: str, folder: Path, size: int | None = None) -> Source:
    """A prepared set as a source.

    Args:
        name: As the user wrote it.
        folder: Version folder, with dataset_info.json and features.json.
        size: Resize to size x size pixels; None: as stored.

    Raises:
        InputError: It is no image classification set, not in array_record form, or damaged.
    """
    import tensorflow_datasets as tfds

    info, features = _metadata(name, folder)
    keys = classification_keys(features)
    if keys is None:
        raise InputError(
            f"data set {name!r} in {str(folder)!r} has no feature pair of one image and one class label; "
            f"choose an image classification set"
        )
    if info.get("fileFormat") != "array_record":
        raise InputError(
            f"data set {name!r} in {str(folder)!r} is stored as {info.get('fileFormat', 'tfrecord')}, which needs "
            f"TensorFlow to read; run `jaxcnn data prepare {name}` with another data_dir"
        )
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # JSON, protobuf and TFDS each have their own
        raise _damaged(name, folder, error) from error
    emnist = info.get("name") == "emnist"
    config = (info.get("configName") or folder.parent.name) if emnist else ""
    files = sorted((str(path.resolve()), path.stat()) for path in folder.iterdir() if path.is_file())
    identity = {"tfds": info.get("name"), "version": info.get("version"), "size": size}
    identity["files"] = [[path, status.st_size, status.st_mtime_ns] for path, status in files]
    decoded: Any = builder.info.features
    names = tuple(EMNIST_CLASSES.get(config) or decoded[keys[1]].names)
    shards, lengths = _splits(name, builder)
    channels = 1 if decoded[keys[0]].shape[-1] == 1 else 3
    offset = int(config == "letters")
    reader = _Reader(name, folder, shards, keys, channels, size, transpose=emnist, offset=offset)
    pools = {split: _pool(reader, split, length, identity) for split, length in lengths.items()}
    return Source(name, str(folder), identity, names, {SPLIT_NAMES[split]: pool for split, pool in pools.items()})


def _metadata(name: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return tuple(json.loads((folder / file).read_text()) for file in ("dataset_info.json", "features.json"))
    except (OSError, ValueError) as error:
        raise _damaged(name, folder, error) from error


def _damaged(name: str, folder: Path, error: Exception, part: str = "") -> InputError:
    reason = " ".join(str(error).split())
    return InputError(
        f"{part}data set {name!r} in {str(folder)!r} is damaged ({reason}); remove that folder and prepare the set "
        f"anew, as with `jaxcnn data prepare {name}`"
    )


def _splits(name: str, builder: Any) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Files and number of examples of each split, by the set's own names."""
    splits = {split: builder.info.splits[split] for split in builder.info.splits if split in SPLIT_NAMES}
    if "train" not in splits:
        raise InputError(
            f"data set {name!r} has no split called train, only {', '.join(sorted(builder.info.splits))}; "
            f"choose a set with a training split"
        )
    shards = {
        split: [f"{part.filename}[{part.skip}:{part.skip + part.take}]" for part in info.file_instructions]
        for split, info in splits.items()
    }
    return shards, {split: info.num_examples for split, info in splits.items()}


def _pool(reader: _Reader, split: str, length: int, identity: dict[str, Any]) -> Pool:
    def labels(advance: Callable[[], object]) -> np.ndarray:
        read = functools.partial(reader.labels, split, length, advance)
        return remembered(reader.name, f"{split}-labels", identity, read)

    return Pool(length, functools.partial(reader.read, split), functools.partial(reader.at, split), labels)


class _Reader:
    """Reads records, by batches or one alone, and decodes them. It can be sent to another process.

    Args:
        name: The set, as the user wrote it.
        folder: Where it lies.
        shards: The files of each split, as array_record writes a part of one: path[first:last].
        keys: The features that hold image and label.
        channels: 1 or 3.
        size: Resize to size x size pixels; None: as stored.
        transpose: Rows and columns are stored exchanged.
        offset: What the first label is stored as.
    """

    def __init__(
        self, name: str, folder: Path, shards: Mapping[str, Sequence[str]], keys: tuple[str, str], channels: int,
        size: int | None, *, transpose: bool, offset: int,
    ):  # fmt: skip
        self.name, self.folder, self.shards, self.channels, self.size = name, folder, shards, channels, size
        self.image_key, self.label_key = keys
        self.transpose, self.offset = transpose, offset
        self.opened: dict[str, Any] = {}

    def read(self, split: str) -> Iterator[Example]:
        """All examples of a split, in the order in which they are stored."""
        return ordered_map(self._example, self._records(split))

    def at(self, split: str, index: int) -> Example:
        """The example at a place in that order."""
        with self._damage(split):
            record = self._source(split)[index]
        return self._example((f"{split}[{index}]", record))

    def labels(self, split: str, length: int, advance: Callable[[], object]) -> np.ndarray:
        """int32 (length,): the records are read, which is most of the time, and their images left alone."""
        labels = np.empty(length, np.int32)
        for index, (_, record) in enumerate(self._records(split)):
            labels[index] = self._label(_features(record))
            advance()
        return labels

    def _source(self, split: str) -> Any:
        # Not TFDS' own data source, which cannot be sent to another process.
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        if split not in self.opened:
            self.opened[split] = ArrayRecordDataSource(self.shards[split])
        return self.opened[split]

    @contextlib.contextmanager
    def _damage(self, split: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise _damaged(self.name, self.folder, error, f"split {split} of ") from error

    def _records(self, split: str, batch: int = 512) -> Iterator[tuple[str, bytes]]:
        with self._damage(split):
            source = self._source(split)
        for start in range(0, len(source), batch):
            keys = list(range(start, min(start + batch, len(source))))
            with self._damage(split):
                records = source.__getitems__(keys)
            yield from ((f"{split}[{key}]", record) for key, record in zip(keys, records, strict=True))

    def _label(self, feature: Any) -> int:
        return int(feature[self.label_key].int64_list.value[0]) - self.offset

    def _example(self, item: tuple[str, bytes]) -> Example:
        name, record = item
        feature = _features(record)
        label = self._label(feature)
        try:
            image = decode_image(feature[self.image_key].bytes_list.value[0], self.channels, self.size)
        except BadImage as reason:
            return Example(name, reason, label)
        # TFDS stores EMNIST as NIST's files do, with rows and columns exchanged.
        return Example(name, image.transpose(1, 0, 2) if self.transpose else image, label)


def _features(record: bytes) -> Any:
    """The features of a record, parsed by hand: TFDS' decoder is 20 times slower and decodes what nobody asked for."""
    from tensorflow_datasets.proto import tf_example_pb2

    parse: Any = tf_example_pb2
    return parse.Example.FromString(record).features.feature
