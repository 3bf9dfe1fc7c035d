import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxcnn.analysis.explain import TrainedArm, explain
from jaxcnn.analysis.scores.agreement import error_consistency
from jaxcnn.models import build
from jaxcnn.nn.calls import infer
from jaxcnn.spec import ModelSpec
from tests.fixtures.reference import draw_variables

pytestmark = pytest.mark.slow  # compiles a dozen programs for each of four networks


@pytest.fixture(scope="module")
def explained():
    digits = load_digits()
    images, labels = jnp.asarray(digits.images[:240, :, :, None] / 16, jnp.float32), jnp.asarray(digits.target[:240])
    batches = [
        {"images": images[start : start + 40], "labels": labels[start : start + 40], "mask": jnp.ones(40)}
        for start in range(0, 240, 40)
    ]
    arms = {}
    for name, (depth, width) in {"deep": (4, 3), "wide": (2, 8)}.items():
        module = build(ModelSpec("plain", depth, width), num_classes=10)
        first = draw_variables(module, images)
        arms[name] = TrainedArm(module, [first, jax.tree.map(lambda leaf: leaf[..., ::-1], first)])
    return arms, batches, explain(arms, batches[:3], batches[3:])


def test_the_record_is_plain_and_whole(explained):
    arms, _, record = explained
    assert json.loads(json.dumps(record)) == record
    assert [len(record["arms"][name]) for name in arms] == [2, 2]
    assert record["layers"] == {"deep": ["norm1", "norm2", "norm3"], "wide": ["norm1"]}
    deep = record["arms"]["deep"][0]
    assert set(deep["gradient_norm"]) == {"conv1", "conv2", "conv3", "dense1"}
    assert deep["field"]["conv1"] == [3, 3]
    assert 0 < deep["effective_field"]["conv1"] <= 3
    assert all(0 <= share <= 1 for share in deep["dead_share"].values())
    assert max(deep["probe_accuracy"].values()) > 0.3


def test_pairs_within_and_between_arms(explained):
    arms, batches, record = explained
    pairs = {(*map(tuple, (each["first"], each["second"])),): each for each in record["pairs"]}
    assert len(pairs) == 6
    between = pairs[("deep", 0), ("wide", 1)]
    assert np.shape(between["cka"]) == (3, 1)
    right = []
    for module, variables in (
        (arms["deep"].module, arms["deep"].seeds[0]),
        (arms["wide"].module, arms["wide"].seeds[1]),
    ):
        right.append(
            [
                hit
                for batch in batches[3:]
                for hit in np.asarray(infer(module, variables, batch["images"])).argmax(1)
                == np.asarray(batch["labels"])
            ]
        )
    assert between["error_consistency"] == pytest.approx(error_consistency(*right))
