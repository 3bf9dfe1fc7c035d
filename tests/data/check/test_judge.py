"""The verdict as a function of what was seen, against counts made one pair at a time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.data.check import KINDS, MAX_NAMES, ScannedImage, is_odd, judge
from jaxcnn.data.dataset import Pool, Source
from jaxcnn.errors import printable
from jaxcnn.spec import DataConfig


def seen(index, *, pool="train", label=0, pixels=None, shape=(4, 4, 1), kinds=(), reason=""):
    digest = b"" if reason else str(index if pixels is None else pixels).encode()
    return ScannedImage(f"{pool}/{index}", pool, label, kinds, reason, () if reason else shape, digest)


def judged(images, *, classes=2, ignored=None, problems=(), **config):
    pools = dict.fromkeys((image.pool for image in images), Pool(1, lambda: iter(())))
    source = Source("set", "here", {}, tuple(f"class {i}" for i in range(classes)), pools)
    return judge(DataConfig("set", **config), source, images, ignored or {}, problems)


def balanced(count=20, **kwargs):
    return [seen(i, label=i % 2, **kwargs) for i in range(count)]


def test_a_good_set():
    found = judged(balanced())
    assert found.verdict == "usable"
    assert {split: sum(counts) for split, counts in found.splits.items()} == {"train": 14, "validation": 2, "test": 4}
    assert (found.images, found.decoded, found.balance, found.findings) == (20, 20, 1.0, {})
    assert (found.image_sizes, found.distinct_sizes) == ({"4x4": 20}, 1)


@pytest.mark.parametrize("kind", list(KINDS["bad"]))
def test_bad_files_are_a_flaw_unless_they_are_to_be_skipped(kind):
    images = [*balanced(), seen(" 99", kinds=(kind,), reason="it is torn")]
    found = judged(images)
    assert (found.verdict, found.images, found.decoded) == ("flawed", 21, 20)
    assert found.findings[kind].names == ("train/ 99: it is torn",)
    assert found.findings["odd_name"].names == ("train/ 99",)
    assert judged(images, on_bad="skip").verdict == "usable"


own = st.tuples(st.sampled_from(["train", "validation", "test"]), st.integers(0, 2), st.integers(0, 12))


@given(st.lists(own, min_size=1, max_size=30))
def test_repeats_are_those_of_a_count_by_hand(drawn):
    images = [seen(i, pool=pool, label=label, pixels=pixels) for i, (pool, label, pixels) in enumerate(drawn)]
    # One more of each class in each split, unlike any other, so that no split is empty.
    others = ((pool, label) for pool in ("train", "validation", "test") for label in range(3))
    images += [seen(100 + i, pool=pool, label=label, pixels=f"own {i}") for i, (pool, label) in enumerate(others)]
    found = judged(images, classes=3)
    pixels = {split: [p for pool, _, p in drawn if pool == split] for split in ("train", "validation", "test")}
    count = {kind: each.count for kind, each in found.findings.items()}
    for later, earlier in (("test", "train"), ("validation", "train"), ("test", "validation")):
        assert count.get(f"{later}_in_{earlier}", 0) == sum(p in pixels[earlier] for p in pixels[later])
    assert count.get("duplicate", 0) == sum(len(each) - len(set(each)) for each in pixels.values())
    labels = {p: {label for _, label, q in drawn if q == p} for _, _, p in drawn}
    assert ("label_conflict" in count) == any(len(each) > 1 for each in labels.values())
    shared = any(kind in count for kind in ("test_in_train", "validation_in_train", "test_in_validation"))
    assert found.verdict == ("flawed" if shared else "usable")
    assert sum(sum(counts) for counts in found.splits.values()) == len(images)


def test_names_are_given_up_to_a_number_and_counted_beyond():
    found = judged([*balanced(), *(seen(100 + i, kinds=("cmyk",), label=i % 2) for i in range(30))])
    assert found.findings["cmyk"].count == 30
    assert len(found.findings["cmyk"].names) == MAX_NAMES


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([*balanced(), seen(9, label=7)], "the train labels of data set 'set' contain 7, outside 0..1"),
        ([seen(i) for i in range(20)], "single class"),
        (
            [*balanced(), seen(30, shape=(4, 9, 1))],
            "differ in size (height x width: train/0 is 4x4, train/30 is 4x9 pixels)",
        ),
        ([*balanced(), seen(30, shape=(4, 4, 3))], "differ in channels (train/0 has 1, train/30 has 3)"),
        (
            [*balanced(), seen(0, pool="test", kinds=("empty",), reason="x")],
            "test split of data set 'set' has no image",
        ),
        (balanced(4), "leaves 0 for validation"),
    ],
)
def test_what_load_refuses(images, sentence):
    found = judged(images)
    assert found.verdict == "unusable"
    assert any(sentence in problem for problem in found.problems), found.problems


def test_differing_sizes_may_be_meant():
    images = [*balanced(), seen(30, shape=(4, 9, 1))]
    found = judged(images, size=8)
    assert (found.verdict, found.image_sizes) == ("usable", {"4x4": 20, "4x9": 1})
    assert judged([*balanced(), seen(30, shape=(4, 4, 3))], size=8).verdict == "unusable"


def test_classes_that_a_split_lacks_and_the_balance():
    images = [
        *balanced(30),
        *(seen(50 + i, pool="test", label=0) for i in range(2)),
        *(seen(70 + i) for i in range(30)),
    ]
    found = judged(images)
    assert found.findings["class_missing"].names == ("test: class 1",)
    assert found.balance == pytest.approx(3, abs=0.3)
    assert found.verdict == "usable"
    assert judged(images, classes=3).balance is None


def test_train_size_leaves_images_out():
    images = balanced(40)
    images[1] = images[1]._replace(digest=images[0].digest, label=0)
    found = judged(images, train_size=4)
    assert sum(found.splits["train"]) == 4
    assert sum(sum(counts) for counts in found.splits.values()) == 4 + 3 + 8
    assert "duplicate" not in found.findings


def test_sentences_are_one_printable_line_each():
    found = judged(balanced(), ignored={"hidden": ["a\nb"]}, problems=["torn\x1b[31m\nin two"])
    assert found.problems == ("torn\\x1b[31m\\nin two",)
    assert found.findings["hidden"].names == ("a\\nb",)
    assert found.findings["odd_name"].names == ("a\\nb",)


@pytest.mark.parametrize(
    "name", ["-x.png", " x.png", "x ", "a/-x", "a\nb", "a\x1b[31m", "\udcff.png", "a\u00a0b", "\u202eb"]
)
def test_odd_names_are_shown_on_one_printable_line(name):
    assert is_odd(name)
    assert printable(name).isprintable()
    printable(name).encode()


@pytest.mark.parametrize("name", ["x.png", "a b.png", "ünïcödé", "雪/🐈.png", "train-2/x"])
def test_ordinary_names_are_shown_as_they_are(name):
    assert not is_odd(name)
    assert printable(name) == name
