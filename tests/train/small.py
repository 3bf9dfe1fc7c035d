"""A small net with batch norm and dropout, and random images: what the tests of training share."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxcnn.nn import BatchNorm, Conv, Dense, Dropout, GlobalAvgPool, synchronised
from jaxcnn.spec import OptimizerConfig
from jaxcnn.tasks import classification
from jaxcnn.train import make_eval_step, make_init, make_optimizer, make_train_step

SHAPE = (8, 8, 1)


class Net(linen.Module):
    """Conv, batch norm, ReLU, pool, dense."""

    dropout: float = 0.0
    axis_name: str | None = None

    @linen.compact
    def __call__(self, images, train=False, mask=None):
        x = Conv(8, use_bias=False, name="conv")(images)  # a bias before batch norm has no gradient but noise
        x = BatchNorm(axis_name=self.axis_name, name="norm")(x, train=train, mask=mask)
        x = GlobalAvgPool()(linen.relu(x))
        x = Dropout(self.dropout, self.axis_name)(x, train=train)
        return Dense(3, name="head")(x)


def parts(module=None, config=None, axis_name=None, shared=True, prepare=None, **options):
    """(train step, eval step, init) of a module; `shared`: its batch norm knows of the mapped axis."""
    module = Net() if module is None else module
    config = OptimizerConfig(schedule="constant", warmup_epochs=0.0) if config is None else config
    tx, task = make_optimizer(config, 100, 10), classification()
    spread = synchronised(module, axis_name) if shared and axis_name else module
    train = make_train_step(spread, tx, task, prepare=prepare, axis_name=axis_name, **options)
    return train, make_eval_step(module, task, axis_name=axis_name), make_init(module, tx, SHAPE)


def split(count, seed=0):
    """Random images whose class shows in their mean."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count).astype(np.int32)
    images = rng.normal(size=(count, *SHAPE)).astype(np.float32) + labels[:, None, None, None].astype(np.float32)
    return {"images": images, "labels": labels}


def batch(count, padding=0, seed=0):
    """One batch, padded with rubbish that the mask hides."""
    arrays = split(count + padding, seed)
    mask = (np.arange(count + padding) < count).astype(np.float32)
    return {k: jnp.asarray(v) for k, v in arrays.items()} | {"mask": jnp.asarray(mask)}


def difference(a, b):
    """Largest relative difference between two trees, leaf by leaf: ||a - b|| / ||b||."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(
        float(np.linalg.norm(np.asarray(x, np.float64) - np.asarray(y, np.float64)) / max(np.linalg.norm(y), 1e-12))
        for x, y in leaves
    )


def same(a, b):
    """Whether all leaves are equal to the bit."""
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def timeless(records):
    """Records of epochs without what a clock measured."""
    return [{k: v for k, v in record.items() if k not in ("seconds", "steps_timed")} for record in records]
