"""Files of Keras give the arrays that were saved, in both layouts; hostile ones one sentence, and no other file."""

import contextlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.errors import InputError
from jaxcnn.interop import read_h5

FIXTURES = Path(__file__).parents[1] / "fixtures"
FILES = ["keras_small.h5", "keras_small.weights.h5"]


@pytest.mark.parametrize("name", FILES)
def test_arrays_are_those_that_were_saved(name):
    found = read_h5(FIXTURES / name)
    with np.load(FIXTURES / "keras_small.npz") as stored:
        assert set(found) == set(stored.files)
        for key in stored.files:
            np.testing.assert_array_equal(found[key], stored[key], err_msg=key)
    assert not found["last/bias"].flags.writeable


def test_names_of_keras_1_and_models_with_an_optimizer(tmp_path):
    """As vgg16_weights_tf_dim_ordering_tf_kernels.h5 of 2016 has them, and a whole model saved as .h5."""
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["model_weights/block1_conv1/block1_conv1_W_1:0"] = np.ones((3, 3, 3, 2), np.float32)
        file["model_weights/block1_conv1/block1_conv1_b_1:0"] = np.ones(2, np.float32)
        file["optimizer_weights/adam/learning_rate:0"] = np.ones(1)
    assert set(read_h5(tmp_path / "old.h5")) == {"block1_conv1/kernel", "block1_conv1/bias"}


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_refused(name, tmp_path):
    content, file = (FIXTURES / name).read_bytes(), tmp_path / name
    for length in (0, 1, 7, 96, len(content) // 3, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"not a readable \.h5 file"):
            read_h5(file)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read(data, tmp_path_factory):
    content = bytearray((FIXTURES / FILES[0]).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("damaged") / "damaged.h5"
    file.write_bytes(content)
    with contextlib.suppress(InputError):
        read_h5(file)


def external_link(file, secret):
    file["layer/kernel"] = h5py.ExternalLink(str(secret), "/layer/kernel")


def external_root(file, secret):
    file["model_weights"] = h5py.ExternalLink(str(secret), "/")


def soft_link(file, secret):
    file["layer/kernel"] = np.ones(3)
    file["other/kernel"] = h5py.SoftLink("/layer/kernel")


def external_storage(file, secret):
    file.create_dataset("layer/kernel", (8,), "u1", external=[(str(secret), 0, 8)])


def virtual(file, secret):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "layer/kernel", (3,))
    file.create_virtual_dataset("layer/kernel", layout)


def huge(file, secret):
    file.create_dataset("layer/kernel", (2**40,), "f4")


def huge_in_chunks(file, secret):
    file.create_dataset("layer/kernel", (2**40,), "f4", chunks=(2**20,), compression="gzip")


def compressed(file, secret):
    file.create_dataset("layer/kernel", data=np.zeros(100_000), compression="gzip")


def shared(file, secret):
    file["layer0/kernel"] = np.zeros(1000)
    file["layer1/kernel"] = file["layer0/kernel"]


def endless(file, secret):
    for number in range(20):
        file.create_group(f"layers{number}")["layers"] = file["/"]


def objects(file, secret):
    file.create_dataset("layer/kernel", data=["a", "b"], dtype=h5py.string_dtype())


def unnumbered(file, secret):
    file["layers/conv2d/vars/9"] = np.ones(3)


def empty(file, secret):
    file.create_group("layers")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (external_link, "a link"), (external_root, "a link"), (soft_link, "a link"),
        (external_storage, "plain numbers"), (virtual, "plain numbers"), (huge, "plain numbers"),
        (huge_in_chunks, "plain numbers|compressed"), (compressed, "plain numbers|compressed"),
        (shared, "there twice"), (endless, "there twice"), (objects, "plain numbers"),
        (unnumbered, "other variables"), (empty, "no arrays"),
    ],
)  # fmt: skip
def test_hostile_files_are_refused(make, words, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["layer/kernel"] = np.arange(3.0)
    with h5py.File(tmp_path / "hostile.h5", "w") as file:
        make(file, secret)
    with pytest.raises(InputError, match=rf"not a readable \.h5 file.*({words})") as refused:
        read_h5(tmp_path / "hostile.h5")
    assert "\n" not in str(refused.value)
