"""Reading ahead changes when images are decoded and never which: in threads, in processes, wherever it begins."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxcnn.data import batch_indices, batches, load, steps_per_epoch
from jaxcnn.data.dataset import BadImage, Example
from jaxcnn.data.stream import StreamedImages, prefetch, read_ahead, resident_bytes_bound
from jaxcnn.data.stream import images as images_module
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig

SHAPE = (2, 3, 1)


def stored(index):
    """An image that says which it is."""
    return Example(f"image {index}", np.full(SHAPE, index % 251, np.uint8), index % 3)


def bad_seven(index):
    return Example("image 7", BadImage("torn"), 1) if index == 7 else stored(index)


def streamed(count, at=stored, on_bad="refuse"):
    places = np.arange(count)
    labels = (places % 3).astype(np.int32)
    return {"images": StreamedImages("set", at, places, labels, SHAPE, "image 0", on_bad), "labels": labels}


class Forbidden:
    """A context in which images that were not prefetched cannot be decoded."""

    def __init__(self, monkeypatch):
        self.patch = monkeypatch

    def __enter__(self):
        self.patch.setattr(images_module, "in_threads", lambda *_: pytest.fail("decoded directly"))

    def __exit__(self, *_):
        self.patch.undo()


@pytest.fixture
def all_prefetched(monkeypatch):
    return Forbidden(monkeypatch)


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@st.composite
def plans(draw):
    count, batch_size = draw(st.integers(1, 40)), draw(st.integers(1, 16))
    shards = draw(st.integers(1, batch_size))
    start = draw(st.integers(0, 3 * steps_per_epoch(count, batch_size)))
    order = {"batch_size": batch_size, "seed": draw(st.integers(0, 9)), "start": start}
    order["stop"] = start + draw(st.integers(0, 8))
    order |= {"shuffle": draw(st.booleans()), "shard": (draw(st.integers(0, shards - 1)), shards)}
    return count, order


@settings(deadline=None, max_examples=40)
@given(plan=plans(), threads=st.integers(1, 3))
def test_a_run_resumed_at_any_step_gets_the_same_batches(plan, threads):
    count, order = plan
    split = streamed(count)
    expected = list(batches(split, **order))
    with read_ahead(split, **order, threads=threads):
        found = list(batches(split, **order))
    assert_same(found, expected)


@pytest.mark.parametrize(("count", "batch_size"), [(20, 8), (10, 10), (3, 1), (2, 1), (5, 4)])
def test_all_batches_of_many_epochs_are_prefetched(count, batch_size, all_prefetched):
    # Also where the last batch of an epoch happens to be the first of the next, and uses up one of the two.
    split, stop = streamed(count), 30 * steps_per_epoch(count, batch_size)
    with read_ahead(split, batch_size=batch_size, stop=stop), all_prefetched:
        for step in range(stop):
            chosen = batch_indices(count, batch_size, seed=0, step=step)[0]
            np.testing.assert_array_equal(split["images"][chosen][:, 0, 0, 0], chosen)


def test_three_hosts_over_ten_records_see_each_once_an_epoch():
    for epoch in range(2):
        seen = []
        for host in range(3):
            split, order = streamed(10), {"batch_size": 4, "seed": 1, "start": 3 * epoch, "shard": (host, 3)}
            with read_ahead(split, **order):
                for batch in batches(split, **order):
                    seen += batch["images"][batch["mask"] == 1][:, 0, 0, 0].tolist()
        assert sorted(seen) == list(range(10))


def test_parts_of_a_batch_come_from_the_prefetched_one(all_prefetched):
    split = streamed(20)
    with read_ahead(split, batch_size=8, seed=2), all_prefetched:
        for step in range(2):
            chosen = batch_indices(20, 8, seed=2, step=step)[0]
            for part in (chosen[:3], chosen[3:6], chosen[6:], chosen[::-1], chosen[[0, 0]]):
                np.testing.assert_array_equal(split["images"][part][:, 0, 0, 0], part)


def test_indexing_out_of_order_decodes_directly_and_uses_up_no_batch(all_prefetched):
    split, rng = streamed(100), np.random.default_rng(0)
    with read_ahead(split, batch_size=10, seed=3):
        for step in range(10):
            chosen = batch_indices(100, 10, seed=3, step=step)[0]
            padded = np.append(chosen, [0, 0])  # as several devices index it
            with all_prefetched:
                np.testing.assert_array_equal(split["images"][chosen][:, 0, 0, 0], chosen)
            np.testing.assert_array_equal(split["images"][padded][:, 0, 0, 0], padded)
            for asked in (slice(None, None, 7), rng.integers(0, 100, 20), np.zeros(8, np.int32), rng.permutation(100)):
                np.testing.assert_array_equal(split["images"][asked][:, 0, 0, 0], np.arange(100)[asked])


def test_a_split_in_memory_is_not_affected():
    split = {"images": np.zeros((4, *SHAPE), np.uint8), "labels": np.zeros(4, np.int32)}
    with read_ahead(split, batch_size=2, workers=3):
        assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", 0), ("seed", -1), ("start", -1), ("workers", -1), ("threads", 0)]
)
def test_numbers_out_of_range(name, value):
    with (
        pytest.raises(InputError, match=f"{name}={value}: must be at least"),
        read_ahead(streamed(4), **{"batch_size": 2, name: value}),
    ):
        pass


def test_a_bad_image_raises_at_its_own_step():
    split = streamed(9, bad_seven)
    with read_ahead(split, batch_size=3, shuffle=False):
        for step in range(2):
            split["images"][np.arange(3) + 3 * step]
        with pytest.raises(InputError, match="image 7 in data set 'set' cannot be used: torn"):
            split["images"][np.arange(6, 9)]


def test_a_skipped_image_is_warned_of_once():
    split = streamed(9, bad_seven, on_bad="skip")
    with read_ahead(split, batch_size=3, stop=9), pytest.warns(UserWarning, match="skipped image 7: torn") as told:
        found = list(batches(split, 3, stop=9))
    assert len(told) == 1
    assert {7, 1, 4} & {int(image[0, 0, 0]) for batch in found for image in batch["images"]} == {1, 4}


def test_two_at_once_and_one_within_another(all_prefetched):
    train, validation = streamed(20), streamed(12)
    with read_ahead(train, batch_size=5, stop=8), read_ahead(validation, batch_size=4, shuffle=False, stop=6):
        taken = batches(train, 5, stop=8)
        with all_prefetched:
            for _ in range(2):  # two epochs, each followed by a pass over the validation split
                for _ in range(3):
                    next(taken)
                for step in range(3):
                    validation["images"][batch_indices(12, 4, seed=0, step=step, shuffle=False)[0]]
        with read_ahead(train, batch_size=5, start=30), all_prefetched:
            next(batches(train, 5, start=30))
        with all_prefetched:
            assert len(list(taken)) == 2


def test_a_worker_of_a_study_decodes_in_threads(monkeypatch):
    monkeypatch.setattr(prefetch.multiprocessing, "current_process", lambda: SimpleNamespace(daemon=True))
    split = streamed(8)
    ahead = read_ahead(split, batch_size=4, workers=2)
    with pytest.warns(UserWarning, match=r"workers=2: .* threads decode instead"):
        ahead.__enter__()
    assert multiprocessing.active_children() == []
    assert_same(list(batches(split, 4)), list(batches(streamed(8), 4)))
    ahead.__exit__(None, None, None)


@pytest.fixture
def root(tmp_path):
    """Two classes of thirty images; the last file of class b is torn."""
    for i in range(60):
        path = tmp_path / "set" / "ab"[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (6, 5, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return tmp_path / "set"


def test_workers_give_the_same_batches_and_end(root, all_prefetched):
    data = load(DataConfig(str(root), stream=True))
    order = {"batch_size": 8, "seed": 4, "start": 3, "stop": 14}
    expected = list(batches(data.train, **order))
    (root / "b" / "59.png").write_bytes(b"torn")  # which of the splits holds it is found below
    chosen = [batch_indices(len(data.train["labels"]), 8, seed=4, step=step)[0] for step in range(3, 14)]
    places = data.train["images"].places
    torn = next((step for step, indices in enumerate(chosen) if 59 in places[indices]), None)
    assert torn is not None, "the torn file is to be one of the training images: choose another"
    with read_ahead(data.train, **order, workers=2):
        assert len(multiprocessing.active_children()) == 2
        taken = batches(data.train, **order)
        with all_prefetched:
            found = [next(taken) for _ in range(torn)]
        with pytest.raises(InputError, match=r"b/59.png in data set .* not an image"):
            next(taken)
    assert multiprocessing.active_children() == []
    assert_same(found, expected[:torn])


SCRIPT = """
import multiprocessing, sys, time
from jaxcnn.data import batches, load
from jaxcnn.data.stream import read_ahead
from jaxcnn.spec import DataConfig
data = load(DataConfig(sys.argv[1], stream=True))
with read_ahead(data.train, batch_size=8, stop=100_000, workers=1):
    for number, _ in enumerate(batches(data.train, 8, stop=100_000)):
        if number == 6:
            print(*[process.pid for process in multiprocessing.active_children()], flush=True)
        time.sleep(0.01)
"""


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", ["interrupted", "killed", "worker killed"])
def test_a_script_without_a_guard_and_how_it_ends(root, tmp_path, how):
    (tmp_path / "script.py").write_text(SCRIPT)
    script = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(root)], cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    workers = list(map(int, script.stdout.readline().split()))
    assert len(workers) == 1
    if how == "interrupted":
        os.killpg(script.pid, signal.SIGINT)  # as a terminal sends it: to all of them
    elif how == "killed":
        script.kill()
    else:
        os.kill(workers[0], signal.SIGKILL)
    _, errors = script.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while any(map(running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(running, workers))
    if how == "interrupted":
        assert errors.count("Traceback") == 1
        assert errors.rstrip().endswith("KeyboardInterrupt")
    elif how == "worker killed":
        assert "InputError: workers=1: a process that decodes images was killed by signal 9" in errors


MEMORY = """
import numpy as np
from pathlib import Path
from jaxcnn.data import batches
from jaxcnn.data.dataset import Example
from jaxcnn.data.stream import StreamedImages, read_ahead, resident_bytes_bound
shape, count = (256, 256, 3), 100_000
stored = lambda index: Example("", np.full(shape, index % 251, np.uint8), 0)
places = np.arange(count, dtype=np.int32)
labels = places * 0
split = {"images": StreamedImages("", stored, places, labels, shape, "", "refuse"), "labels": labels}
def high():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024
with read_ahead(split, batch_size=4, stop=2, threads=2):  # imports grain
    list(batches(split, 4, stop=2))
before = high()
split["images"].at = abs  # the bound pickles it
bound = resident_bytes_bound(split, batch_size=128, threads=2)
split["images"].at = stored
with read_ahead(split, batch_size=128, stop=30, threads=2):
    for batch in batches(split, 128, stop=30):
        pass
print(high() - before, bound)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_stays_within_its_bound():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    used, bound = map(int, done.stdout.split())
    assert 25e6 < used < bound  # 30 batches of 25 MB went by
    assert bound < 9 * 128 * 256 * 256 * 3


def test_the_bound_counts_batches_workers_and_the_index():
    split, batch = streamed(1000), 10 * 6
    one, two = (resident_bytes_bound(split, batch_size=10, threads=threads) for threads in (1, 2))
    assert two - one == batch
    index = one - 6 * batch - 32 * 2**20
    assert 1000 * 20 < index < 1000 * 60
    workers = [resident_bytes_bound(split, batch_size=10, workers=count) for count in (1, 2)]
    assert workers[1] - workers[0] == index + 5 * batch + 250 * 2**20
