"""LiteRT files by LiteRT: every family agrees at other batch sizes. Skipped where its packages are not installed.

pip install --no-deps litert-converter==0.5.0 ai-edge-litert==2.3.0
"""

import json

import numpy as np
import pytest

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.export import trace
from jaxcnn.run import export_run, run
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
from tests.export.networks import NETWORKS, agreement, network

pytestmark = pytest.mark.slow


@pytest.fixture
def litert():
    pytest.importorskip("litert_converter")
    pytest.importorskip("ai_edge_litert")
    from jaxcnn.export import litert

    return litert


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "faster_rcnn"])
def test_families_agree_for_any_number_of_images(litert, name):
    compute, shape = network(name)
    content = litert.to_litert(trace(compute, shape))
    assert agreement(lambda images: litert.run_litert(content, images), compute, shape) <= 1e-5


def test_what_is_not_written_is_named(litert):
    with pytest.raises(InputError, match=r"to='litert': the converter refuses the network .*; export it to stablehlo"):
        litert.to_litert(trace(*network("faster_rcnn")))


def test_a_run_is_exported_with_its_metadata_beside_it(litert, tmp_path):
    data = DataConfig("digits")
    run(RunConfig(ModelSpec("plain", 3, 4), data, epochs=1), out=tmp_path / "run", progress=False)
    made = export_run(tmp_path / "run", to="litert", preprocess=True)
    assert made.path.name == "network.tflite"
    assert made.difference < 1e-5
    assert json.loads(made.path.with_suffix(".json").read_text())["classes"] == list("0123456789")
    images = np.asarray(load(data).load_test()["images"][:5])
    assert litert.run_litert(made.path.read_bytes(), images)["output"].shape == (5, 10)
