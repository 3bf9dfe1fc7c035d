"""`prepare(name)`: download a TFDS set and write it in array_record form, with or without TensorFlow.

tensorflow-datasets calls TensorFlow in two places while it prepares image sets: to open files and to encode arrays as
PNG. If TensorFlow is not installed, Python's `open` and Pillow replace it during the call.
"""

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
from unittest.mock import patch

import numpy as np

from jaxcnn.data.messages import one_line
from jaxcnn.data.sources.tfds import find_prepared, tfds_dir
from jaxcnn.errors import InputError

logger = logging.getLogger(__name__)


def prepare(
    name: str, data_dir: str | os.PathLike[str] | None = None, mirror: str | None = None, progress: bool = True
) -> Path:
    """Download and prepare a data set of tensorflow-datasets in array_record form.

    Args:
        name: TFDS name: mnist, emnist/letters, cifar10.
        data_dir: Folder to write to; None: $TFDS_DATA_DIR, then ~/tensorflow_datasets.
        mirror: URL prefix. Each file is fetched from mirror/<base name> instead of its original host. A file whose
            checksum differs from the published one is accepted with a warning.

    Returns:
        The version folder. A set that is already prepared is not changed.

    Raises:
        InputError: The name is unknown, a download fails, or the folder cannot be written. No partial set is left.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader
    from tensorflow_datasets.core.registered import DatasetNotFoundError

    folder = tfds_dir(data_dir)
    if (prepared := find_prepared(name, str(folder))) is not None:
        if any(".array_record" in path.name for path in prepared.iterdir()):
            return prepared
        raise InputError(f"{str(prepared)!r} holds {name!r} in another form; give another data_dir, or move it away")
    try:
        builder = tfds.builder(name, data_dir=folder, file_format="array_record")
    except DatasetNotFoundError:
        raise InputError(f"name={name!r} is not a data set of tensorflow-datasets; see `jaxcnn data`") from None
    except (ValueError, AssertionError, ImportError) as error:
        first = str(error).strip().split("\n")[0]
        raise InputError(f"data set {name!r} cannot be prepared ({first}); check its name and version") from error
    with contextlib.ExitStack() as stack:
        if not progress:
            tfds.disable_progress_bar()
            stack.callback(tfds.enable_progress_bar)
        # Messages of TFDS: standard output is for the caller's result.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr if progress else io.StringIO()))
        # Give up on a host after seconds: with TFDS' ten tries a machine without a network waits for minutes.
        stack.enter_context(patch.object(downloader, "MAX_RETRIES", 4))
        # The failure is reported once, by the caller.
        stack.enter_context(patch.object(logging.getLogger("urllib3.connectionpool"), "disabled", True))
        if mirror is not None:
            stack.enter_context(_use_mirror(mirror))
        if importlib.util.find_spec("tensorflow") is None:
            stack.enter_context(_replace_tensorflow())
        try:
            # It writes to a folder called incomplete.* and renames that, so a failure leaves no valid set.
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
        except Exception as error:
            raise InputError(_explain(name, folder, mirror, error)) from error
    return Path(builder.data_dir)


def _explain(name: str, folder: Path, mirror: str | None, error: Exception) -> str:
    reason = one_line(error)
    if isinstance(error, PermissionError):
        return f"data_dir={str(folder)!r} cannot be written ({error.strerror}); choose a folder that can"
    if type(error).__name__ == "ManualDownloadError" or "manual" in reason.lower():
        return f"data set {name!r} must be downloaded by hand ({reason}); follow its page in the TFDS catalogue"
    if mirror is not None:
        return f"preparing {name!r} from mirror={mirror!r} failed ({reason}); check that it serves the original files"
    return f"preparing {name!r} failed ({reason}); check the network, or give mirror, a URL prefix with its files"


@contextlib.contextmanager
def _use_mirror(mirror: str) -> Iterator[None]:
    """Fetch mirror/<base name> in place of each URL; log differing checksums instead of refusing them."""
    from tensorflow_datasets.core.download import download_manager, downloader

    fetch = downloader._Downloader.download

    def from_mirror(self: Any, url: str, destination_path: Any, verify: bool = True) -> Any:
        base = os.path.basename(urllib.parse.urlparse(url).path)
        return fetch(self, f"{mirror.rstrip('/')}/{base}", destination_path, verify)

    def accept(self: Any, url: str, url_info: Any, path: Any) -> None:
        self._recorded_url_infos[url] = url_info
        if self._url_infos.get(url, url_info) != url_info:
            logger.warning("%s from %s differs from the published file's checksum", url_info.filename, mirror)

    with (
        patch.object(downloader._Downloader, "download", from_mirror),
        patch.object(download_manager.DownloadManager, "_register_or_validate_checksums", accept),
    ):
        yield


class _StandIn(types.SimpleNamespace):
    """A part of TensorFlow's interface; any other part raises an error."""

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


@contextlib.contextmanager
def _replace_tensorflow() -> Iterator[None]:
    """Replace what TFDS uses of TensorFlow while it prepares images: opening files and encoding arrays."""
    from tensorflow_datasets.core.features import image_feature
    from tensorflow_datasets.core.utils import lazy_imports_utils

    gfile = _StandIn(
        GFile=open,
        exists=os.path.exists,
        isdir=os.path.isdir,
        listdir=os.listdir,
        glob=glob.glob,
        makedirs=functools.partial(os.makedirs, exist_ok=True),
        copy=shutil.copyfile,
    )
    stand_in = _StandIn(io=_StandIn(gfile=gfile), compat=_StandIn(as_text=os.fsdecode))
    # All modules of TFDS share this one lazy module object, which keeps what it imported under "_module".
    with (
        patch.dict(lazy_imports_utils.tensorflow.__dict__, {"_module": stand_in}),
        patch.object(image_feature._ImageEncoder, "_encode_image", _encode_with_pillow),
    ):
        yield
