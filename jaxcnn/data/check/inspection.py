"""`inspect`: every image of every split of a data set read, and nothing raised for what is wrong with them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jaxcnn.data.cache import bar
from jaxcnn.data.check.findings import Inspection
from jaxcnn.data.check.judging import SPLITS, Reading, conclude
from jaxcnn.data.check.survey import Seen, examine, examine_example, survey
from jaxcnn.data.dataset import Source
from jaxcnn.data.decode import ordered_map
from jaxcnn.data.loading import check_fields
from jaxcnn.data.sources.catalog import find_source
from jaxcnn.data.sources.opening import shown
from jaxcnn.data.sources.tfds import find_prepared, version_dir
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig


def inspect(config: DataConfig, *, progress: bool = False) -> Inspection:
    """Read every image of every split of a data set and say what is wrong with it, without raising for any of it.

    What concerns files (names, formats, colour modes, links) is known of image folders only; records of TFDS sets and
    arrays are judged by their pixels and labels. Images are compared as stored, never resized.

    Args:
        config: Which images; `size` says that differing sizes are meant, `on_bad="skip"` that bad files are.
        progress: Show a progress bar on standard error.

    Raises:
        InputError: There is no such data set, or a field of `config` is out of range.
    """
    check_fields(config)
    source, problems = _source(config)
    root = _root(config, source)
    noted: Mapping[str, Sequence[str]] = {}
    if root is not None:
        class_names, files, noted = survey(root)
        pools = {pool: sum(file.pool == pool for file in files) for pool in SPLITS}
        pools = {pool: count for pool, count in pools.items() if count or (source and pool in source.pools)}
        read = ordered_map(functools.partial(examine, root), files, batch=16)
    else:
        class_names = source.class_names if source else ()
        pools = {name: pool.length for name, pool in source.pools.items()} if source else {}
        read = _examples(source, problems) if source else iter(())
    seen = []
    with bar(f"reading {shown(Path(config.name).name)}", sum(pools.values()), progress) as advance:
        for image in read:
            seen.append(image)
            advance()
    where = source.where if source else str(Path(config.name).expanduser())
    carve = source.carve if source else {}
    return conclude(config, Reading(where, class_names, pools, carve, seen, noted, problems))


def _source(config: DataConfig) -> tuple[Source | None, list[str]]:
    """The data set, or why there is none; raises where nothing of that name is there to be looked at."""
    try:
        return find_source(replace(config, size=None)), []
    except InputError as error:
        if not Path(config.name).expanduser().exists() and find_prepared(config.name, config.data_dir) is None:
            raise
        return None, [str(error)]
    except OSError as error:
        return None, [f"{error.filename!r}: {error.strerror}; check the path and its permissions"]


def _root(config: DataConfig, source: Source | None) -> Path | None:
    """The image folder that is meant, or None where it is another kind of data set."""
    path = Path(config.name).expanduser()
    if source is not None:
        return path if "folder" in source.identity else None
    try:
        prepared = version_dir(path) or find_prepared(config.name, config.data_dir)
    except OSError:  # a folder that may not be listed
        prepared = None
    return path if path.is_dir() and prepared is None else None


def _examples(source: Source, problems: list[str]) -> Iterator[Seen]:
    for name, pool in source.pools.items():
        try:
            for example in pool.read():
                yield examine_example(name, example)
        except InputError as error:
            problems.append(str(error))
        except Exception as error:  # a record that lacks what it must hold, and whatever else a source may meet
            reason = " ".join(str(error).split()) or type(error).__name__
            problems.append(f"the {name} split of data set {source.name!r} cannot be read ({reason}); make it anew")
