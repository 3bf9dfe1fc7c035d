"""Downloading and preparing without TensorFlow, from real files that a server on this machine hands out."""

import functools
import gzip
import http.server
import io
import os
import struct
import tarfile
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxcnn.data.cache import load_or_decode
from jaxcnn.data.prepare import prepare
from jaxcnn.data.sources.catalog import find_source, names
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig

REAL = os.environ.get("TFDS_DATA_DIR")

# TFDS 4.9 and its dependencies warn about themselves while preparing.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def real_split(name, split):
    return load_or_decode(find_source(DataConfig(name, data_dir=REAL)), split)[0]


def mnist_images(split):
    """The real 60,000 or 10,000 where they are at hand; else that many of scikit-learn's digits, enlarged."""
    if REAL:
        return real_split("mnist", split)
    count, digits = {"train": 60_000, "test": 10_000}[split], load_digits()
    large = [Image.fromarray((image * 15).astype(np.uint8)).resize((28, 28)) for image in digits["images"]]
    picked = np.arange(count) % len(large)
    return {"images": np.stack(large)[picked][..., None], "labels": digits["target"][picked].astype(np.int32)}


def write_mnist(folder):
    """The four files as their authors distribute them: idx, gzipped."""
    for split, prefix in (("train", "train"), ("test", "t10k")):
        data = mnist_images(split)
        count, labels = len(data["labels"]), data["labels"].astype(np.uint8)
        contents = {
            "images-idx3": struct.pack(">4I", 2051, count, 28, 28) + data["images"].tobytes(),
            "labels-idx1": struct.pack(">2I", 2049, count) + labels.tobytes(),
        }
        for kind, content in contents.items():
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(content, compresslevel=0))


def cifar_images():
    if REAL:
        data = real_split("cifar10", "test")
        return data["images"][:120], data["labels"][:120]
    digits = load_digits()
    large = [Image.fromarray((image * 15).astype(np.uint8)).resize((32, 32)) for image in digits["images"][:120]]
    return np.stack(large)[..., None].repeat(3, axis=-1), digits["target"][:120]


def write_cifar10(folder):
    """cifar-10-binary.tar.gz: a label byte and 3,072 bytes of planes an image, six files of twenty images here."""
    images, labels = cifar_images()
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz", compresslevel=1) as archive:

        def add(name, content):
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))

        add("batches.meta.txt", "\n".join([*NAMES, ""]).encode())
        for i, name in enumerate([*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]):
            part = slice(20 * i, 20 * i + 20)
            planes = images[part].transpose(0, 3, 1, 2).reshape(20, 3072)
            add(name, np.c_[labels[part].astype(np.uint8), planes].tobytes())


NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """The address of a server on this machine and the folder that it serves."""
    folder = tmp_path_factory.mktemp("mirror")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", folder
    server.shutdown()
    server.server_close()
    thread.join()


def as_set(data):
    """Images with their labels, whatever their order: TFDS shuffles while it writes."""
    return sorted(zip((image.tobytes() for image in data["images"]), data["labels"].tolist(), strict=True))


def patched_names():
    """What `prepare` replaces for a while, as it is now."""
    from tensorflow_datasets.core.download import download_manager, downloader
    from tensorflow_datasets.core.features import image_feature
    from tensorflow_datasets.core.utils import lazy_imports_utils

    return (
        downloader._Downloader.download,
        download_manager.DownloadManager._register_or_validate_checksums,
        image_feature._ImageEncoder._encode_image,
        # The stand-in for TensorFlow. Where the real one is installed, TFDS loads it there itself.
        "_module" in lazy_imports_utils.tensorflow.__dict__ and find_spec("tensorflow") is None,
    )


def valid_sets(folder):
    return [path for path in Path(folder).rglob("dataset_info.json") if "incomplete" not in str(path)]


@pytest.mark.slow
def test_mnist_comes_back_pixel_for_pixel(mirror, tmp_path):
    address, folder = mirror
    write_mnist(folder)
    where = prepare("mnist", tmp_path, mirror=address, progress=False)
    assert where == tmp_path / "mnist" / "3.0.1"
    source = find_source(DataConfig("mnist", data_dir=str(tmp_path)))
    for split, count in (("train", 60_000), ("test", 10_000)):
        got = load_or_decode(source, split)[0]
        assert got["images"].shape == (count, 28, 28, 1)
        assert as_set(got) == as_set(mnist_images(split))


@pytest.mark.slow
def test_cifar10_comes_back_from_its_binary_archive_once(mirror, tmp_path, capsys):
    address, folder = mirror
    write_cifar10(folder)
    before = patched_names()
    where = prepare("cifar10", tmp_path, mirror=address.rstrip("/"), progress=False)
    assert capsys.readouterr().out == ""
    assert patched_names() == before
    assert any(entry.name == "cifar10" and entry.state == "prepared" for entry in names(str(tmp_path)))
    written = {path: path.stat().st_mtime_ns for path in where.iterdir()}
    assert prepare("cifar10", tmp_path, mirror="http://127.0.0.1:9/", progress=False) == where  # not fetched again
    assert written == {path: path.stat().st_mtime_ns for path in where.iterdir()}
    source = find_source(DataConfig("cifar10", data_dir=str(tmp_path)))
    assert source.class_names == tuple(NAMES)
    images, labels = cifar_images()
    for split, part in (("train", slice(0, 100)), ("test", slice(100, 120))):
        assert as_set(load_or_decode(source, split)[0]) == as_set({"images": images[part], "labels": labels[part]})


def test_a_failed_download_leaves_no_set_and_can_be_repeated(mirror, tmp_path, caplog):
    address, folder = mirror
    before = patched_names()
    with pytest.raises(InputError, match=r"preparing 'cifar10' from mirror=.*/nowhere' failed \(.*404.*check that it"):
        prepare("cifar10", tmp_path, mirror=f"{address}nowhere", progress=False)
    assert patched_names() == before
    assert valid_sets(tmp_path) == []
    with pytest.raises(InputError, match="'cifar10' is not prepared"):
        find_source(DataConfig("cifar10", data_dir=str(tmp_path)))
    write_cifar10(folder)
    with caplog.at_level("WARNING", logger="jaxcnn"):
        prepare("cifar10", tmp_path, mirror=address, progress=False)
    assert "cifar-10-binary.tar.gz from http://127.0.0.1" in caplog.text  # it differs from the published file
    assert len(valid_sets(tmp_path)) == 1


def test_a_broken_archive_leaves_no_set(mirror, tmp_path):
    address, folder = mirror
    (folder / "broken").mkdir(exist_ok=True)
    (folder / "broken" / "cifar-10-binary.tar.gz").write_bytes(b"this is an error page, not an archive")
    with pytest.raises(InputError, match="preparing 'cifar10' from mirror"):
        prepare("cifar10", tmp_path, mirror=f"{address}broken", progress=False)
    assert valid_sets(tmp_path) == []


def test_no_network_is_one_sentence(tmp_path, monkeypatch):
    from tensorflow_datasets.core.download import downloader

    def offline(url, **kwargs):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(downloader, "_open_url", offline)
    with pytest.raises(
        InputError, match=r"preparing 'mnist' failed \(.*not known\); check the network, or give mirror"
    ):
        prepare("mnist", tmp_path, progress=False)
    assert valid_sets(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_set", "name='no_such_set' is not a data set of tensorflow-datasets"),
        ("mnist:9.9.9", r"'mnist:9\.9\.9' cannot be prepared"),
    ],
)
def test_unknown_names_and_versions(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        prepare(name, tmp_path, progress=False)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file"):
        prepare("mnist", tmp_path / "file", progress=False)


def test_a_set_in_another_form_is_left_alone(tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    for name in ("dataset_info.json", "features.json", "mnist-train.tfrecord-00000-of-00001"):
        (folder / name).write_text("{}")
    with pytest.raises(InputError, match="in another form; give another data_dir"):
        prepare("mnist", tmp_path, progress=False)
    assert len(list(folder.iterdir())) == 3
