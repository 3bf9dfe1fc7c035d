"""`prepare(name)`: download a TFDS set and write it in array_record form, with or without TensorFlow.

tensorflow-datasets calls TensorFlow in two places while it prepares image sets: to open files and to encode arrays as
PNG. Where TensorFlow is missing, Python's `open` and Pillow stand in for the time of the call.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import importlib.util
import io
import logging
import os
import shutil
import sys
import types
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.sources.tfds import find_prepared, tfds_dir
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
    if (found := find_prepared(name, str(folder))) is not None:
        return _already(name, found)
    builder = _builder(tfds, name, folder)
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_output(tfds, progress))
        stack.enter_context(_impatient())
        if mirror is not None:
            stack.enter_context(_mirrored(mirror))
        if importlib.util.find_spec("tensorflow") is None:
            stack.enter_context(_without_tensorflow())
        try:
            # It writes to a folder called incomplete.* and renames that, so a failure leaves no valid set.
            builder.download_and_prepare(download_config=settings)
        except Exception as error:
            raise InputError(_failure(name, folder, mirror, error)) from error
    return Path(builder.data_dir)


def _already(name: str, found: Path) -> Path:
    if any(".array_record" in path.name for path in found.iterdir()):
        return found
    raise InputError(f"{str(found)!r} holds {name!r} in another form; give another data_dir, or move it away")


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
def _output(tfds: types.ModuleType, progress: bool) -> Iterator[None]:
    """Keep standard output for the caller's own result: TFDS' messages go to standard error, or nowhere."""
    if progress:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Give up on a host after seconds: with TFDS' ten tries a machine without a network waits for minutes."""
    from tensorflow_datasets.core.download import downloader

    tries = logging.getLogger("urllib3.connectionpool")
    level = tries.level
    tries.setLevel(logging.ERROR)  # the failure is reported once, by the caller
    try:
        with _replaced(downloader, "MAX_RETRIES", 4):
            yield
    finally:
        tries.setLevel(level)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


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
        _replaced(downloader._Downloader, "download", from_mirror),
        _replaced(download_manager.DownloadManager, "_register_or_validate_checksums", accept),
    ):
        yield


class _StandIn(types.SimpleNamespace):
    """A piece of TensorFlow's interface; asking for more says what is missing."""

    def __getattr__(self, name: str) -> Any:
        raise ImportError(f"it calls TensorFlow's {name}, which has no stand-in; install tensorflow for this set")


def _encode_with_pillow(self: Any, array: np.ndarray) -> bytes:
    from PIL import Image
    from tensorflow_datasets.core.features import image_feature

    image_feature._validate_np_array(array, shape=self.shape, dtype=self.np_dtype)
    buffer = io.BytesIO()
    picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    picture.save(buffer, format=self.encoding_format, **({"quality": 95} if self.encoding_format == "jpeg" else {}))
    return buffer.getvalue()


def _open(path: str | os.PathLike[str], mode: str = "r") -> Any:
    return open(path, mode)


@contextlib.contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Stand-ins for what TFDS asks of TensorFlow while preparing images: opening files and encoding arrays."""
    from tensorflow_datasets.core.features import image_feature
    from tensorflow_datasets.core.utils import lazy_imports_utils

    gfile = _StandIn(
        GFile=_open,
        exists=os.path.exists,
        isdir=os.path.isdir,
        listdir=os.listdir,
        glob=glob.glob,
        makedirs=functools.partial(os.makedirs, exist_ok=True),
        copy=shutil.copyfile,
    )
    stand_in = _StandIn(io=_StandIn(gfile=gfile), compat=_StandIn(as_text=os.fsdecode))
    # All modules of TFDS share this one lazy module object, which keeps what it imported under "_module".
    lazy = lazy_imports_utils.tensorflow.__dict__
    lazy["_module"] = stand_in
    try:
        with _replaced(image_feature._ImageEncoder, "_encode_image", _encode_with_pillow):
            yield
    finally:
        del lazy["_module"]
