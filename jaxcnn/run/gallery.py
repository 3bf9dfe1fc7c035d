"""A gallery: names with a few images each, kept as the vectors of a trained embedding, and who an image shows."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.analysis.scores.open_set import Unknown, calibrate_unknown
from jaxcnn.errors import InputError, require
from jaxcnn.run.folder import RunFolder, load_result
from jaxcnn.run.predict import predict
from jaxcnn.runtime.files import atomic_write, sha256


class Gallery(NamedTuple):
    """What is known by name.

    Args:
        run: Folder of the run whose network makes the vectors.
        seal: SHA-256 of its result.json.
        names: One per entry.
        sums: float64 (M, D), sum of the vectors of each entry's images; the mean is its prototype.
        counts: int64 (M,), number of its images.
    """

    run: Path
    seal: str
    names: tuple[str, ...]
    sums: np.ndarray
    counts: np.ndarray


def add_to_gallery(file: Path | str, name: str, images: Sequence[Path | str], run: Path | str | None = None) -> Gallery:
    """Add images of a name to a gallery; images of a name that it has are averaged with those.

    Args:
        file: The gallery, .npz. It is made where it does not exist.
        name: The name.
        images: Image files, one or more.
        run: Folder of a finished run with the task embedding. Default: that of the gallery.

    Raises:
        InputError: No run is known, its task is another one, an image cannot be read, or the file is damaged.

    >>> add_to_gallery("faces.npz", "Ada", ["ada.jpg"], run="runs/faces").names  # doctest: +SKIP
    ('Ada',)
    """
    file = Path(file)
    require(bool(name := name.strip()), "name", repr(name), "give a name")
    require(name != "unknown", "name", repr(name), "it is the answer where no name fits; choose another one")
    require(len(images) > 0, "images", "()", "give one image of the name or more")
    if file.exists():
        gallery = _checked(read_gallery(file), file, run)
    else:
        if run is None:
            raise InputError(
                f"file={str(file)!r}: there is no such gallery; give run, the folder of one with the head embedding"
            )
        where = Path(run).resolve()
        gallery = Gallery(where, _seal(where), (), np.zeros((0, 0)), np.zeros(0, np.int64))
    vectors = np.stack([each["vector"] for each in _embedded(gallery.run, images)]).astype(np.float64)
    sums = dict(zip(gallery.names, gallery.sums, strict=True))
    counts = dict(zip(gallery.names, gallery.counts.tolist(), strict=True))
    sums[name] = sums.get(name, 0.0) + vectors.sum(axis=0)
    counts[name] = counts.get(name, 0) + len(vectors)
    gallery = gallery._replace(
        names=tuple(sums), sums=np.stack([*sums.values()]), counts=np.array([*counts.values()], np.int64)
    )
    with atomic_write(file) as partial, partial.open("wb") as stream:
        np.savez(stream, run=np.array(str(gallery.run)), seal=np.array(gallery.seal), names=np.array(gallery.names),
                 sums=gallery.sums, counts=gallery.counts)  # fmt: skip
    return gallery


def who(file: Path | str, images: Sequence[Path | str], run: Path | str | None = None) -> list[dict[str, Any]]:
    """Name the nearest entry of a gallery for each image, or none where all of them are too far.

    Too far is calibrated on the vectors of the run's test split (`calibrate_unknown`), for as many names and images as
    the gallery has.

    Args:
        file: The gallery.
        images: Image files.
        run: The run's folder, where it has moved. Default: where it was.

    Returns:
        One mapping per image: path, name (None: unknown), nearest (the name without a threshold), distance (Euclidean,
        to its prototype), threshold, and text for the console.

    Raises:
        InputError: No such gallery, its run has changed or cannot calibrate, or an image cannot be read.

    >>> who("faces.npz", ["somebody.jpg"])[0]["name"]  # doctest: +SKIP
    'Ada'
    """
    file = Path(file)
    if not file.exists():
        raise InputError(f"file={str(file)!r}: there is no such gallery; add to it first")
    gallery = _checked(read_gallery(file), file, run)
    limit = gallery_threshold(gallery)
    means, found = gallery.sums / gallery.counts[:, None], []
    for each in _embedded(gallery.run, images):
        distances = np.sqrt(np.square(means - each["vector"].astype(np.float64)).sum(axis=1))
        nearest, distance = gallery.names[int(distances.argmin())], float(distances.min())
        name = nearest if distance <= limit.threshold else None
        text = f"{nearest} (distance {distance:.3f}, unknown above {limit.threshold:.3f})"
        if name is None:
            text = f"unknown (nearest {nearest}, distance {distance:.3f} above {limit.threshold:.3f})"
        found.append({"path": each["path"], "name": name, "nearest": nearest, "distance": distance,
                      "threshold": limit.threshold, "text": text})  # fmt: skip
    return found


def gallery_threshold(gallery: Gallery) -> Unknown:
    """Return the distance from which on an image is unknown to a gallery, from the test vectors of its run.

    Raises:
        InputError: The run has no test vectors of two classes or more.

    >>> gallery_threshold(read_gallery("faces.npz")).error  # doctest: +SKIP
    """
    saved = load_result(gallery.run).predictions
    if "vectors" not in saved:
        raise InputError(f"run {str(gallery.run)!r}: it has no test vectors to calibrate by; train with evaluate_test")
    return calibrate_unknown(
        saved["vectors"], saved["labels"], len(gallery.names), max(1, int(np.median(gallery.counts)))
    )


def read_gallery(file: Path | str) -> Gallery:
    """Return a gallery from its file.

    Raises:
        InputError: The file is none.

    >>> read_gallery("faces.npz").names  # doctest: +SKIP
    ('Ada',)
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            names = tuple(map(str, stored["names"]))
            sums, counts = stored["sums"].astype(np.float64), stored["counts"].astype(np.int64)
            if sums.ndim != 2 or not len(names) == len(sums) == len(counts) or not (counts > 0).all():
                raise ValueError
            return Gallery(Path(str(stored["run"])), str(stored["seal"]), names, sums, counts)
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile):
        raise InputError(
            f"file={str(file)!r}: it is no gallery; name one that gallery add wrote, or another file"
        ) from None


def _seal(run: Path) -> str:
    if not RunFolder(run).finished:
        raise InputError(f"run={str(run)!r}: there is no finished run; give the folder of one")
    return sha256(run / "result.json")


def _checked(gallery: Gallery, file: Path, run: Path | str | None) -> Gallery:
    """Return a gallery whose run is where it was, or in another folder if it is the same one."""
    where = gallery.run if run is None else Path(run).resolve()
    if not RunFolder(where).finished:
        remedy = "give its new place as run" if run is None else "give the folder of one"
        raise InputError(f"run={str(where)!r}: there is no finished run; {remedy}")
    if _seal(where) != gallery.seal:
        if run is not None and where != gallery.run:
            raise InputError(f"run={str(run)!r}: the vectors in {str(file)!r} are those of another one, {gallery.run}")
        raise InputError(
            f"file={str(file)!r}: its run {str(where)!r} was trained again; make a new gallery, in another file"
        )
    return gallery._replace(run=where)


def _embedded(run: Path, images: Sequence[Path | str]) -> list[dict[str, Any]]:
    """Return the predictions of images, each with a vector, or raise InputError for the first that has none."""
    found = predict(run, images)
    for each in found:
        if "error" in each:
            raise InputError(each["error"])
        if "vector" not in each:
            raise InputError(f"run={str(run)!r}: its task gives no vectors; give a run with the head embedding")
    return found
