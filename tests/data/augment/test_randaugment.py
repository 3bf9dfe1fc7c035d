"""RandAugment: its operations against Pillow, and how they are drawn."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxcnn.data.augment.randaugment import OPERATIONS, augment_one, operate, randaugment
from jaxcnn.errors import InputError
from tests.data.augment.pictures import NOISE, PHOTO, array, floats, pillow

ALONE = {  # what each operation is at magnitude 9, with a positive sign
    "shear_x": lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0.09, 0, 0, 1, 0)),
    "shear_y": lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0, 0, 0.09, 1, 0)),
    "translate_x": lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0, 0.3 * 150 / 331 * 20, 0, 1, 0)),
    "translate_y": lambda p: p.transform(p.size, Image.Transform.AFFINE, (1, 0, 0, 0, 1, 0.3 * 150 / 331 * 24)),
    "rotate": lambda p: p.rotate(9.0),
    "identity": lambda p: p,
    "brightness": lambda p: ImageEnhance.Brightness(p).enhance(1.27),
    "color": lambda p: ImageEnhance.Color(p).enhance(1.27),
    "contrast": lambda p: ImageEnhance.Contrast(p).enhance(1.27),
    "sharpness": lambda p: ImageEnhance.Sharpness(p).enhance(1.27),
    "posterize": lambda p: ImageOps.posterize(p, 7),
    "solarize": lambda p: ImageOps.solarize(p, 178.5),
    "autocontrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
}
OPERATE = jax.jit(operate, static_argnums=3)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_at_magnitude_nine_agree_with_pillow(name):
    got = np.asarray(OPERATE(floats(PHOTO), jnp.int32(OPERATIONS.index(name)), jnp.float32(1.0), 0.3))
    close = np.abs(got - array(ALONE[name](pillow(PHOTO)))).max(axis=-1) <= 1.2
    assert close.mean() > 0.99


def test_randaugment_uses_every_operation_equally_and_both_signs():
    """Each operation of a single round is known by its result."""
    image = floats(PHOTO)
    known = {
        (name, sign): np.asarray(OPERATE(image, jnp.int32(kind), jnp.float32(sign), 0.3))
        for kind, name in enumerate(OPERATIONS)
        for sign in (1, -1)
    }
    images = jnp.broadcast_to(image, (700, *image.shape))
    one = jax.jit(lambda key, images: randaugment(key, images, count=1))
    got, found = np.asarray(one(jax.random.key(0), images)), SimpleNamespace(names=[], pairs=set())
    for picture in got:
        pair = min(known, key=lambda pair: np.abs(known[pair] - picture).max())
        assert np.abs(known[pair] - picture).max() < 0.01
        found.names.append(pair[0])
        found.pairs.add(pair)
    assert min(found.names.count(name) for name in OPERATIONS) > 25  # of 50 expected
    directed = [name for name in OPERATIONS if not np.array_equal(known[name, 1], known[name, -1])]
    assert len(directed) == 9
    assert {(name, sign) for name in directed for sign in (1, -1)} <= found.pairs


@pytest.mark.slow
def test_one_after_another_is_as_all_together():
    """A CPU takes the one form, accelerators the other."""
    images, keys = floats(np.stack([PHOTO, NOISE] * 8)), jax.random.split(jax.random.key(2), 16)
    change = partial(augment_one, count=2, strength=0.3)
    together = jax.jit(jax.vmap(change))(keys, images)
    in_turn = jax.jit(lambda keys, images: jax.lax.map(lambda one: change(*one), (keys, images)))(keys, images)
    np.testing.assert_allclose(in_turn, together, atol=0.01)


@pytest.mark.parametrize("magnitude", [-1, 31])
def test_magnitudes_that_do_not_exist_are_refused(magnitude):
    with pytest.raises(InputError, match=f"magnitude={magnitude}: must be from 0 to 30"):
        randaugment(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), magnitude=magnitude)
