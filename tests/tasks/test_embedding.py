"""Prototypes, triplets and pairs of a batch: against loops over the definitions, scikit-learn and optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestCentroid

from jaxcnn.analysis.complexity import count
from jaxcnn.data import class_order
from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.spec import Embedding, ModelSpec, RunConfig
from jaxcnn.tasks import embedding
from jaxcnn.tasks.embedding import squared_distances

LOSSES = ("prototypes", "triplet", "contrastive")
WAYS, PER_CLASS, D = 4, 3, 5
N = WAYS * PER_CLASS
TASKS = {name: embedding(Embedding(loss=name, per_class=PER_CLASS)) for name in LOSSES}
GRADIENTS = {name: jax.jit(jax.value_and_grad(task.loss, has_aux=True)) for name, task in TASKS.items()}


def batch(labels=None, mask=None):
    labels = np.repeat([7, 2, 9, 4], PER_CLASS) if labels is None else labels
    return {
        "images": jnp.zeros((N, 8, 8, 1)),
        "labels": jnp.asarray(labels, jnp.int32),
        "mask": jnp.ones(N) if mask is None else jnp.asarray(mask, jnp.float32),
    }


def vectors(seed=0):
    return np.random.default_rng(seed).normal(size=(N, D)).astype(np.float32)


def mean_loss(name, found, data):
    total, weight = TASKS[name].loss(jnp.asarray(found), data)
    return float(total / weight), float(weight)


def test_prototypes_are_the_means_and_name_as_scikit_learn_does():
    """Snell et al. 2017, algorithm 1, in loops; accuracy as that of the nearest centroid."""
    found, data = vectors(), batch()
    places = np.arange(N).reshape(WAYS, PER_CLASS)
    task = embedding(Embedding(per_class=PER_CLASS, shots=2))
    centres = found[places[:, :2]].mean(axis=1)
    losses = []
    for k in range(WAYS):
        query = found[places[k, 2]]
        distances = ((query - centres) ** 2).sum(axis=1)
        losses.append(distances[k] + np.log(np.exp(-distances).sum()))
    total, weight = task.loss(jnp.asarray(found), data)
    assert float(weight) == WAYS
    assert float(total) == pytest.approx(sum(losses), rel=1e-5)
    labels = np.asarray(data["labels"])
    nearest = NearestCentroid().fit(found[places[:, :2].ravel()], labels[places[:, :2].ravel()])
    right = (nearest.predict(found[places[:, 2]]) == labels[places[:, 2]]).mean()
    metrics = task.metrics({k: float(v) for k, v in task.sums(jnp.asarray(found), data).items()})
    assert metrics["batch_accuracy"] == pytest.approx(right)
    assert metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_hardest_triplets_have_the_loss_of_optax():
    found, data = vectors(1), batch()
    labels = np.asarray(data["labels"])
    distances = np.linalg.norm(found[:, None] - found[None], axis=2)
    same = (labels[:, None] == labels[None]) & ~np.eye(N, dtype=bool)
    furthest = np.where(same, distances, -1).argmax(axis=1)
    nearest = np.where(labels[:, None] == labels[None], np.inf, distances).argmin(axis=1)
    with jax.numpy_dtype_promotion("standard"):
        reference = optax.losses.triplet_margin_loss(found, found[furthest], found[nearest], margin=0.5)
    loss, weight = mean_loss("triplet", found, data)
    assert weight == N
    assert loss == pytest.approx(float(np.mean(reference)), rel=1e-5)
    metrics = TASKS["triplet"].metrics(
        {k: float(v) for k, v in TASKS["triplet"].sums(jnp.asarray(found), data).items()}
    )
    assert metrics["active"] == pytest.approx(np.mean(np.asarray(reference) > 0))
    assert metrics["same_distance"] == pytest.approx(distances[same].mean(), rel=1e-4)
    assert metrics["other_distance"] == pytest.approx(distances[labels[:, None] != labels[None]].mean(), rel=1e-4)


def test_the_contrastive_loss_of_pairs():
    found, data = 0.1 * vectors(2), batch()
    labels, losses = np.asarray(data["labels"]), []
    for i in range(N):
        terms = {True: [], False: []}
        for j in range(N):
            if i != j:
                d = np.linalg.norm(found[i] - found[j])
                alike = bool(labels[i] == labels[j])
                terms[alike].append(d**2 if alike else max(0.5 - d, 0) ** 2)
        losses.append(np.mean(terms[True]) + np.mean(terms[False]))
    assert mean_loss("contrastive", found, data)[0] == pytest.approx(np.mean(losses), rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(LOSSES),
    st.lists(st.integers(0, 3), min_size=N, max_size=N),
    st.lists(st.booleans(), min_size=N, max_size=N),
    st.integers(0, 99),
    st.sampled_from([0.0, 1.0, 100.0]),
)
def test_nothing_is_ever_nan_and_padding_changes_nothing(name, labels, mask, seed, scale):
    found, data = scale * vectors(seed), batch(labels, mask)
    (total, weight), gradient = GRADIENTS[name](jnp.asarray(found), data)
    assert np.isfinite([float(total), float(weight)]).all()
    assert np.isfinite(np.asarray(gradient)).all()
    other = np.where(np.array(mask)[:, None], found, 3.0).astype(np.float32)
    (again, as_many), _ = GRADIENTS[name](jnp.asarray(other), data)
    assert float(as_many) == float(weight)
    assert float(again) == pytest.approx(float(total), rel=1e-4, abs=1e-4)
    if not any(mask):
        assert (float(total), float(weight)) == (0, 0)


def test_distances_are_those_of_differences():
    a, b = vectors(3), vectors(4)[:7]
    expected = ((a[:, None] - b[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared_distances(jnp.asarray(a), jnp.asarray(b)), expected, rtol=1e-4, atol=1e-5)


def test_batches_hold_so_many_images_of_each_class():
    labels = np.random.default_rng(0).integers(0, 9, 200)
    labels[labels == 8] = 7
    labels[:2] = 8  # too few images of class 8
    order = class_order(labels, 20, 4)
    rows = order(200, 3, 1)
    assert len(rows) == 200
    for one in rows.reshape(10, 5, 4):
        chosen = labels[one]
        assert (chosen == chosen[:, :1]).all()
        assert len(set(chosen[:, 0].tolist())) == 5
        assert len(set(one.ravel().tolist())) == 20
        assert 8 not in chosen
    np.testing.assert_array_equal(rows, order(200, 3, 1))
    assert not np.array_equal(rows, order(200, 3, 2))
    for size, per_class in ((21, 4), (40, 4), (4, 4)):
        with pytest.raises(InputError, match=r"batch_size=.*task\.per_class"):
            class_order(labels, size, per_class)


def test_the_head_on_any_backbone():
    for family, depth, options in (("resnet", 8, {}), ("plain", 4, {"unit_length": True}), ("wrn", 10, {})):
        spec = ModelSpec(family, depth, 2, head="embedding", options={"dimensions": 12, **options})
        assert RunConfig(spec).task == Embedding()
        shape = jax.ShapeDtypeStruct((2, 40, 48, 3), jnp.float32)
        module = build(spec, 5)
        found = jax.eval_shape(lambda x, module=module: module.init_with_output(jax.random.key(0), x)[0], shape)
        assert found.shape == (2, 12)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 16, 16, 1)), jnp.float32)
    module = build(ModelSpec("plain", 3, 2, head="embedding", options={"unit_length": True}), 5)
    lengths = jnp.linalg.norm(module.init_with_output(jax.random.key(0), images)[0], axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)


def test_conv4_has_its_published_size():
    """111,936 parameters, Snell et al.'s code; 256 biases of convolutions before a batch norm are not there."""
    spec = ModelSpec("plain", 5, 64, stage_sizes=(1,) * 4, stage_widths=(64,) * 4, head="embedding",
                     options={"dimensions": 0})  # fmt: skip
    assert count(build(spec, 5), (28, 28, 1)).params == 111_936 - 256


@pytest.mark.parametrize("wrong", [{"per_class": 1}, {"shots": 5}, {"shots": 0}, {"margin": 0.0}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        embedding(Embedding(**wrong))


def test_other_outputs_are_refused():
    with pytest.raises(InputError, match="head='embedding'"):
        TASKS["triplet"].loss(jnp.zeros((N, 2, 2)), batch())
