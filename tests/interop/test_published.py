"""Published weights by name: downloaded once, checked by the publisher's digest, from the cache without a network."""

import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.interop import load_weights
from jaxcnn.interop import published as module
from jaxcnn.interop.published import PUBLISHED, fetch, published
from jaxcnn.interop.torch_names import torch_key
from jaxcnn.interop.weights import names_of, variable_shapes
from jaxcnn.models import named
from jaxcnn.models.zoo import NAMES
from jaxcnn.run.finetune import with_absolute_weights
from jaxcnn.spec import ModelSpec, RunConfig
from tests.interop.test_weights import save_safetensors

SPEC = ModelSpec("resnet_imagenet", 18, 4, 5)


@pytest.fixture
def address(tmp_path, monkeypatch):
    """Return the address of a publisher on this machine, whose files are in tmp_path/site; the cache is empty."""
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "site").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_names_are_networks_and_files():
    assert {each.model for each in PUBLISHED.values()} <= set(NAMES)
    assert all(each.licence for each in PUBLISHED.values())
    assert published("keras/resnet101").licence == "MIT (Kaiming He)"  # keras.io/api/applications
    assert published("torchvision/resnet50-v2").url == "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"
    assert published("keras/resnet50").url.endswith("/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5")
    assert published("resnet18-f37072fd.pth") is published("torchvision/resnet18.pth") is None
    assert [names_of(each, "vgg").publisher for each in ("keras/vgg16", "torchvision/vgg16")] == [
        "keras",
        "torchvision",
    ]
    assert RunConfig(named("vgg16"), weights="keras/vgg16").data.normalize == "caffe"
    config = RunConfig(named("resnet50"), weights="torchvision/resnet50")
    assert config.data.normalize == "imagenet"
    assert with_absolute_weights(config) == config
    with pytest.raises(InputError, match=r"no published weights of this name; did you mean torchvision/resnet50"):
        published("torchvision/resnet5")
    with pytest.raises(InputError, match="it is for another network; add --model resnet50"):
        load_weights("torchvision/resnet50", replace(named("resnet18"), num_classes=10))


def test_a_name_is_downloaded_once_and_then_works_offline(address, tmp_path, monkeypatch):
    shapes = variable_shapes(SPEC, (32, 32, 3))  # kernels are (H, W, in, out) here, (out, in, H, W) there
    arrays = {torch_key(path, SPEC): np.zeros(shape[::-1]) for path, shape in shapes.items()}
    content = save_safetensors(arrays, tmp_path / "made").read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:8]
    (tmp_path / "site" / f"small-{digest}.safetensors").write_bytes(content)
    file = module.Published(f"{address}/small-{digest}.safetensors", "resnet18", digest)
    monkeypatch.setattr(module, "PUBLISHED", {"torchvision/resnet18": file})
    first = load_weights("torchvision/resnet18", SPEC, (32, 32, 3))
    assert first.record["url"] == file.url
    assert first.record["path"] == str(tmp_path / "cache" / "weights" / f"small-{digest}.safetensors")
    assert first.new == ()
    (tmp_path / "site" / f"small-{digest}.safetensors").unlink()
    assert load_weights("torchvision/resnet18", SPEC, (32, 32, 3)).record == first.record


def test_another_file_and_no_network_are_refused_and_nothing_is_kept(address, tmp_path):
    (tmp_path / "site" / "a.h5").write_bytes(b"another file")
    for digest in ("00000000", "0" * 32):
        with pytest.raises(InputError, match=r"weights='keras/a': .*cannot be downloaded \(its digest is .*, not 000"):
            fetch("keras/a", module.Published(f"{address}/a.h5", "vgg16", digest))
    for url in (f"{address}/b.h5", "http://127.0.0.1:9/a.h5"):
        with pytest.raises(InputError, match=r"cannot be downloaded \(.*; get the file elsewhere"):
            fetch("keras/a", module.Published(url, "vgg16", "00000000"))
    assert list((tmp_path / "cache" / "weights").iterdir()) == []
