"""`inspect`: read every image of a data set and report all its problems, without raising for any of them."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxcnn.data.check.findings import Inspection, ScannedImage
from jaxcnn.data.check.judge import judge
from jaxcnn.data.dataset import BadImage, Example, Pool, Source
from jaxcnn.data.decode import Encoded, decode_image, has_16_bits, open_image, ordered_map
from jaxcnn.data.loading import check_fields
from jaxcnn.data.problems import one_line
from jaxcnn.data.progress import progress_bar
from jaxcnn.data.sources.catalog import find_source
from jaxcnn.data.sources.folder import FORMATS_BY_EXTENSION, list_folder
from jaxcnn.data.sources.tfds import find_prepared, version_dir
from jaxcnn.errors import InputError, printable
from jaxcnn.spec import DataConfig


def inspect(config: DataConfig, *, progress: bool = False) -> Inspection:
    """Read every image of every split of a data set and report its problems, without raising for any of them.

    Findings about files (names, formats, colour modes, links) exist for image folders only; records of TFDS sets and
    arrays are judged by their pixels and labels. Images are compared as stored, never resized.

    Args:
        config: The images; `size` allows different sizes, `on_bad="skip"` allows bad files.
        progress: Show a progress bar on standard error.

    Raises:
        InputError: There is no such data set, or a field of `config` is out of range.
    """
    check_fields(config)
    path, problems = Path(config.name).expanduser(), []
    source, ignored = Source(config.name, str(path), {}, (), {}), defaultdict(list)
    prepared = version_dir(path) or find_prepared(config.name, config.data_dir)
    try:
        source = find_source(replace(config, size=None))
    except InputError as error:
        if prepared is None and not path.exists():
            raise
        problems.append(str(error))
    except OSError as error:
        problems.append(f"{error.filename!r}: {error.strerror}; check the path and its permissions")
    scanned = _scan_source(source, problems)
    if "folder" in source.identity or (problems and prepared is None and path.is_dir()):
        class_names, listings, structure = list_folder(path, lambda kind, name: ignored[kind].append(name))
        problems += [problem for problem in structure if problem not in problems]
        pools = {split: Pool(len(names), lambda: iter(())) for split, (names, _) in listings.items()}
        source = source._replace(class_names=class_names, pools=pools)
        files = [(split, *file) for split, listing in listings.items() for file in zip(*listing, strict=True)]
        scanned = ordered_map(lambda file: scan_file(path, *file), files, batch=16)
    images, total = [], sum(pool.length for pool in source.pools.values())
    with progress_bar(f"reading {printable(Path(config.name).name)}", total, progress) as advance:
        for image in scanned:
            images.append(image)
            advance()
    return judge(config, source, images, {kind: sorted(names) for kind, names in ignored.items()}, problems)


def _scan_source(source: Source, problems: list[str]) -> Iterator[ScannedImage]:
    """Yield all images of a source; errors are appended to `problems`."""
    for name, pool in source.pools.items():
        try:
            for example in pool.read():
                yield scan_example(name, example)
        except InputError as error:
            problems.append(str(error))
        except Exception as error:  # an incomplete record, or any other error of a source
            problems.append(
                f"the {name} split of data set {source.name!r} cannot be read ({one_line(error)}); create it again"
            )


def scan_file(root: Path, pool: str, name: str, label: int) -> ScannedImage:
    """Read one file of an image folder, header and pixels."""
    try:
        kinds = header_kinds(root / name, os.path.splitext(name)[1].lower())
        return scan_example(pool, Example(name, decode_image(root / name, 3), int(label)), kinds)
    except BadImage as reason:
        return scan_example(pool, Example(name, reason, int(label)))


def scan_example(pool: str, example: Example, kinds: Iterable[str] = ()) -> ScannedImage:
    """Return the properties of a decoded image; `kinds` are the findings in its header."""
    name, image, label = example
    if isinstance(image, BadImage):
        return ScannedImage(name, pool, label, (image.kind,), str(image))
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).data)
    return ScannedImage(name, pool, label, tuple(kinds), "", image.shape, digest.digest())


def header_kinds(source: Encoded, extension: str = "") -> list[str]:
    """Return the kinds of findings in the header of an image file.

    Raises:
        BadImage: The header cannot be read, or claims too many pixels.
    """
    with open_image(source) as file:
        name = "JPEG" if file.format == "MPO" else file.format  # a JPEG with more than one image
        holds = {
            "wrongly_named": FORMATS_BY_EXTENSION.get(extension, name) != name,
            "cmyk": file.mode == "CMYK",
            "palette": file.mode in ("P", "PA"),
            "sixteen_bits": has_16_bits(file),
            "transparent": file.has_transparency_data,
            "several_frames": getattr(file, "is_animated", False),
        }
    return [kind for kind, value in holds.items() if value]
