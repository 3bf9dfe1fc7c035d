"""`prepare(name)`: download a TFDS set and write it in array_record form, with or without TensorFlow.

tensorflow-datasets calls TensorFlow in two places while it prepares image sets: to open files and to encode arrays as
PNG. Where TensorFlow is missing, Python's `open` and Pillow stand in for the time of the call.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import shutil
import tempfile
import types
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from jaxcnn.data.tfds_source import find_prepared, tfds_dir
from jaxcnn.errors import InputError

logger = logging.getLogger(__name__)


def prepare(
    name: str,
    data_dir: str | os.PathLike[str] | None = None,
    mirror: str | None = None,
    progress: bool = True,
) -> Path:
    """Download and prepare a data set of tensorflow-datasets in array_record form.

    Args:
        name: TFDS name: mnist, emnist/letters, cifar10.
        data_dir: Where it goes; None: $TFDS_DATA_DIR, then ~/tensorflow_datasets.
        mirror: URL prefix. Each file is fetched from mirror/<base name> instead of its original host. A file whose
            checksum differs from the published one is accepted with a warning: the mirror is the user's choice.
        progress: Show tensorflow-datasets' progress bars.

    Returns:
        The version folder. A set that is there already is left as it is.

    Raises:
        InputError: TFDS does not know the name, a download fails, or the folder cannot be written. Nothing that looks
            like a prepared set is left behind.
    """
    import tensorflow_datasets as tfds

    folder = tfds_dir(data_dir)
    if (found := find_prepared(name, str(folder))) is not None and _is_array_record(found):
        return found
    builder = _builder(tfds, name, folder)
    target = Path(builder.data_dir)
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    with contextlib.ExitStack() as stack:
        if not progress:
            stack.enter_context(_quiet(tfds))
        if mirror is not None:
            stack.enter_context(_mirrored(mirror))
        if importlib.util.find_spec("tensorflow") is None:
            stack.enter_context(_without_tensorflow())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Downloads go to a folder of their own: what failed must not be taken for a cached file the next time.
            downloads = stack.enter_context(tempfile.TemporaryDirectory(prefix=".downloads-", dir=folder))
            builder.download_and_prepare(download_dir=downloads, download_config=settings)
        except Exception as error:
            _discard(target)
            raise InputError(_failure(name, folder, mirror, error)) from error
    return target


def _builder(tfds: types.ModuleType, name: str, folder: Path) -> Any:
    try:
        return tfds.builder(name, data_dir=folder, file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError:
        raise InputError(
            f"name={name!r} is no data set of tensorflow-datasets; `jaxcnn data` lists the known ones"
        ) from None
    except (ValueError, AssertionError, ImportError) as error:
        first = str(error).strip().split("\n")[0]
        raise InputError(f"data set {name!r} cannot be prepared ({first}); check its name and version") from error


def _is_array_record(folder: Path) -> bool:
    return any(".array_record" in path.name for path in folder.iterdir())


def _discard(target: Path) -> None:
    """Remove what an interrupted preparation left: the target and TFDS's own temporary folders beside it."""
    for path in (target, *target.parent.glob(f"incomplete.*{target.name}*"), *target.parent.glob("*.incomplete*")):
        shutil.rmtree(path, ignore_errors=True)


def _failure(name: str, folder: Path, mirror: str | None, error: Exception) -> str:
    """One sentence with a remedy."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, PermissionError):
        return f"data_dir={str(folder)!r} cannot be written ({error.strerror}); choose a folder that can"
    if type(error).__name__ == "ManualDownloadError" or "manual" in reason.lower():
        return f"data set {name!r} must be downloaded by hand ({reason}); follow its page in the TFDS catalogue"
    if mirror is not None:
        return f"preparing {name!r} from mirror={mirror!r} failed ({reason}); check that it serves the original files"
    return (
        f"preparing {name!r} failed ({reason}); check the network, or give mirror, a URL prefix that serves its files"
    )


@contextlib.contextmanager
def _quiet(tfds: types.ModuleType) -> Iterator[None]:
    tfds.disable_progress_bar()
    try:
        yield
    finally:
        tfds.enable_progress_bar()


@contextlib.contextmanager
def _mirrored(mirror: str) -> Iterator[None]:
    """Fetch mirror/<base name> where TFDS asks for a URL; differing checksums are logged instead of refused."""
    from tensorflow_datasets.core.download import download_manager, downloader

    fetch = downloader._Downloader.download

    def from_mirror(self: Any, url: str, destination_path: Any, verify: bool = True) -> Any:
        base = os.path.basename(urllib.parse.urlparse(url).path)
        return fetch(self, f"{mirror.rstrip('/')}/{base}", destination_path, verify)

    def accept(self: Any, url: str, url_info: Any, path: Any) -> None:
        self._recorded_url_infos[url] = url_info
        expected = self._url_infos.get(url)
        if expected is not None and expected != url_info:
            logger.warning("%s from %s differs from the published file's checksum", url_info.filename, mirror)

    with (
        mock.patch.object(downloader._Downloader, "download", from_mirror),
        mock.patch.object(download_manager.DownloadManager, "_register_or_validate_checksums", accept),
    ):
        yield


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Stand-ins for what TFDS asks of TensorFlow while preparing images: opening files and encoding arrays."""
    from tensorflow_datasets.core.features import image_feature
    from tensorflow_datasets.core.utils import lazy_imports_utils

    def encode(self: Any, array: np.ndarray) -> bytes:
        from PIL import Image

        image_feature._validate_np_array(array, shape=self.shape, dtype=self.np_dtype)
        buffer = io.BytesIO()
        picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
        picture.save(buffer, format=self.encoding_format, **({"quality": 95} if self.encoding_format == "jpeg" else {}))
        return buffer.getvalue()

    gfile = types.SimpleNamespace(
        GFile=lambda path, mode="r": open(os.fspath(path), mode),
        exists=lambda path: Path(path).exists(),
        listdir=lambda path: os.listdir(path),
        isdir=lambda path: Path(path).is_dir(),
        glob=lambda pattern: [str(path) for path in Path(pattern).parent.glob(Path(pattern).name)],
    )
    stand_in = types.SimpleNamespace(
        io=types.SimpleNamespace(gfile=gfile),
        compat=types.SimpleNamespace(as_text=os.fsdecode),
        errors=types.SimpleNamespace(UnimplementedError=NotImplementedError),
    )
    # The modules of TFDS share one lazy module object; what is in its __dict__ is found before it tries the import.
    lazy = vars(lazy_imports_utils.tensorflow)
    with (
        mock.patch.dict(lazy, {"_module": stand_in}),
        mock.patch.object(image_feature._ImageEncoder, "_encode_image", encode),
    ):
        yield
