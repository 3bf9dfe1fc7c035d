"""Checkpoints that were damaged, which of them are kept, and disks that take no more."""

import shutil

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from jaxcnn.errors import InputError
from jaxcnn.spec import OptimizerConfig
from jaxcnn.train import Checkpoints, make_init, make_optimizer
from tests.train.small import SHAPE, Net, parts, same

INIT = parts(Net())[2]
STATE = jax.device_get(INIT(jax.random.key(0)))


WIDER = {"kernel": jax.ShapeDtypeStruct((8, 4), np.float32), "bias": jax.ShapeDtypeStruct((4,), np.float32)}


def at(step):
    """A state of that step, with weights of its own."""
    moved = jax.tree.map(lambda a: a + np.float32(step), STATE.params)
    return STATE._replace(step=np.int32(step), params=moved)


@pytest.fixture
def saved(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        for step in (7, 14):
            checkpoints.save(at(step), {"count": float(step)})
    return tmp_path / "checkpoints"


def largest(folder):
    return max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def truncate(folder):
    file = largest(folder)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_bits(folder):
    file = largest(folder)
    content = bytearray(file.read_bytes())
    for place in range(len(content) // 4, len(content), len(content) // 16):
        content[place] ^= 0x10
    file.write_bytes(bytes(content))


def remove_files(folder):
    for file in [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size > 200]:
        file.unlink()


def remove_leaf(folder):
    """The same checkpoint without one of its arrays, as orbax itself would write it."""
    root = folder.parent
    with ocp.training.Checkpointer(root) as checkpoints:
        found = checkpoints.metadata(int(folder.name))
        tree = dict(checkpoints.load(int(folder.name)))
    tree.pop("batch_stats")
    shutil.rmtree(folder)
    with ocp.training.Checkpointer(root) as checkpoints:
        checkpoints.save(int(folder.name), tree, force=True, custom_metadata=found.custom_metadata)


def change_leaf(folder):
    """Readable, of the right shapes, and not what was saved."""
    root = folder.parent
    with ocp.training.Checkpointer(root) as checkpoints:
        found = checkpoints.metadata(int(folder.name))
        tree = checkpoints.load(int(folder.name))
    tree["params"] = jax.tree.map(lambda a: np.asarray(a) + np.float32(1e-3), tree["params"])
    shutil.rmtree(folder)
    with ocp.training.Checkpointer(root) as checkpoints:
        checkpoints.save(int(folder.name), tree, force=True, custom_metadata=found.custom_metadata)


DAMAGE = [truncate, flip_bits, remove_files, remove_leaf, change_leaf]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda function: function.__name__)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(saved, damage):
    damage(saved / "14")
    with Checkpoints(saved) as checkpoints:
        with pytest.warns(UserWarning, match=r"checkpoints/14'?: it is damaged \(.*using the one before it"):
            state, sums = checkpoints.restore(STATE)
        assert (int(state.step), sums) == (7, {"count": 7.0})
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(at(7)), strict=True):
            np.testing.assert_array_equal(a, b)
        assert (saved / "14").exists()  # who only reads moves nothing


def test_a_run_moves_damage_aside_and_saves_that_step_again(saved):
    flip_bits(saved / "14")
    for number in (1, 2):
        with Checkpoints(saved) as checkpoints:
            with pytest.warns(UserWarning, match="damaged"):
                checkpoints.restore(STATE, repair=True)
            assert checkpoints.latest == 7
            checkpoints.save(at(14), {})
            assert int(checkpoints.restore(STATE)[0].step) == 14
        assert len(list((saved.parent / "checkpoints_damaged").iterdir())) == number
        flip_bits(saved / "14")


def test_nothing_whole_is_refused_by_name(saved):
    for step in ("7", "14"):
        truncate(saved / step)
    for _ in range(2):  # and refused again: nothing was moved
        with (
            Checkpoints(saved) as checkpoints,
            pytest.raises(InputError, match=r"checkpoints/14'?: it is damaged .*none before it is whole; restore it"),
        ):
            checkpoints.restore(STATE, repair=True)


SHAPES = jax.eval_shape(lambda: {"params": STATE.params, "batch_stats": STATE.batch_stats})


@pytest.mark.parametrize("ema", [False, True])
def test_weights_are_restored_without_the_optimizer(tmp_path, ema):
    """Of a run with any optimizer: only the shapes of the network are given."""
    module = Net()
    for name in ("muon", "adam"):
        init = make_init(module, make_optimizer(OptimizerConfig(name), 10, 5), SHAPE, ema=ema)
        saved = jax.device_get(init(jax.random.key(1)))._replace(step=np.int32(3))
        with Checkpoints(tmp_path / name) as checkpoints:
            checkpoints.save(saved, {"count": 1.0})
            found, _ = checkpoints.restore(SHAPES)
        assert same(found.trained, saved.trained)
        assert found.opt_state == {}
        assert bool(found.ema) == ema


def test_weights_of_another_network_are_refused_and_damaged_ones_passed_over(saved):
    with Checkpoints(saved) as checkpoints:
        with pytest.raises(
            InputError, match=r"another model.*- params/head/kernel \(8, 3\).*\+ params/head/kernel \(8, 4\)"
        ):
            checkpoints.restore({**SHAPES, "params": {**SHAPES["params"], "head": WIDER}})
        assert same(checkpoints.restore(SHAPES)[0].params, at(14).params)
        assert same(checkpoints.restore(SHAPES, step=7)[0].params, at(7).params)
    change_leaf(saved / "14")
    with Checkpoints(saved) as checkpoints, pytest.warns(UserWarning, match="damaged"):
        assert same(checkpoints.restore(SHAPES)[0].params, at(7).params)


def test_without_its_files_digest_the_arrays_checksum_tells(saved):
    """As after a kill between the checkpoint and its digest."""
    for digest in (saved.parent / "checkpoints_digests").iterdir():
        digest.unlink()
    with Checkpoints(saved) as checkpoints:
        assert int(checkpoints.restore(STATE)[0].step) == 14
    change_leaf(saved / "14")
    with Checkpoints(saved) as checkpoints, pytest.warns(UserWarning, match="its checksum is wrong"):
        assert int(checkpoints.restore(STATE)[0].step) == 7
    remove_leaf(saved / "14")
    with Checkpoints(saved) as checkpoints, pytest.warns(UserWarning, match="does not hold the arrays"):
        assert int(checkpoints.restore(STATE)[0].step) == 7


def test_the_latest_and_the_best_are_kept(tmp_path):
    losses = {1: 0.9, 2: 0.4, 3: 0.6, 4: 0.4, 5: float("nan"), 6: 0.8}
    with Checkpoints(tmp_path / "c", keep=2) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(at(step), {}, {"validation_loss": loss})
        assert checkpoints.steps == [2, 5, 6]
        assert (checkpoints.best, checkpoints.latest) == (2, 6)
        assert int(checkpoints.restore(STATE, step=2)[0].step) == 2
    with Checkpoints(tmp_path / "c", keep=1) as checkpoints:
        checkpoints.save(at(7), {}, {"validation_loss": 0.3})
        assert checkpoints.steps == [7]


def test_a_write_that_fails_names_the_folder_and_keeps_what_is_there(saved, monkeypatch):
    with Checkpoints(saved) as checkpoints:
        checkpoints.restore(STATE)

        def full(*arguments, **options):
            raise ValueError("NOT_FOUND: error writing: No space left on device [source locations=...]")

        monkeypatch.setattr(ocp.training.Checkpointer, "save", full)
        with pytest.raises(InputError, match=r"step 21 cannot be written \(No space left on device\); free some space"):
            checkpoints.save(at(21), {})
    with Checkpoints(saved) as checkpoints:
        assert checkpoints.steps == [7, 14]
