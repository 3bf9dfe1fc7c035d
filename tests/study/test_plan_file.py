"""plan.json: written once, by one of several, never over anything; what was changed in it is refused."""

import calendar
import json
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.runtime.environment import revision
from jaxcnn.runtime.files import seal, write_json
from jaxcnn.spec import Classification, DataConfig, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study.plan import FILE, load_plan, make_plan, store_plan, study_identity
from tests.study.planted import ARMS

BASE = RunConfig(data=DataConfig("digits", augment=("crop",)), epochs=3)
PLAN = make_plan(StudyConfig(BASE), ARMS, command="python x.py")


def test_a_plan_survives_the_disk(tmp_path):
    assert store_plan(PLAN, tmp_path / "study") == PLAN
    assert load_plan(tmp_path / "study") == PLAN
    own = make_plan(StudyConfig(BASE), [arm._replace(spec=None, family="mine:net") for arm in ARMS])
    assert store_plan(own, tmp_path / "own") == own == load_plan(tmp_path / "own")


def test_equal_plans_are_one_study_however_their_numbers_are_written(tmp_path):
    listed = StudyConfig(
        replace(BASE, task=Classification(0), data=replace(BASE.data, augment=["crop"])),
        tuning=Tuning([0.1, 1], [0, 1e-4], [1000]),
        seeds=Seeds(np.int64(2), 3),
    )
    plain = StudyConfig(BASE, tuning=Tuning((0.1, 1.0), (0.0, 1e-4)), seeds=Seeds(2, 3))
    first = store_plan(make_plan(listed, [arm._replace(budget=30_000.0) for arm in ARMS]), tmp_path)
    assert first == store_plan(make_plan(plain, ARMS), tmp_path) == load_plan(tmp_path)
    hash(first.arms)


def test_command_workers_and_the_place_of_the_data_are_no_part_of_it(tmp_path):
    store_plan(PLAN, tmp_path / "one")
    before = (tmp_path / "one" / FILE).read_bytes()
    data = replace(BASE.data, data_dir="/elsewhere", workers=3)
    moved = replace(PLAN, command="other", workers=2, place="ray", base=replace(BASE, data=data), tolerance=0.5)
    stored = store_plan(moved, tmp_path / "one")
    assert (stored.workers, stored.place, stored.base.data) == (2, "ray", data)
    assert stored.command == "python x.py"  # the one that made the study, in every report of it
    assert (tmp_path / "one" / FILE).read_bytes() == before
    store_plan(replace(moved, tolerance=PLAN.tolerance), tmp_path / "two")
    assert study_identity(tmp_path / "one") == study_identity(tmp_path / "two")
    store_plan(replace(PLAN, margin=0.01), tmp_path / "three")
    assert study_identity(tmp_path / "one") != study_identity(tmp_path / "three")


def test_a_plan_records_when_and_by_which_code_it_was_sealed(tmp_path):
    """The time in UTC and the commit, which are no part of the study's identity."""
    store_plan(PLAN, tmp_path / "one")
    record = json.loads((tmp_path / "one" / FILE).read_text())
    assert abs(calendar.timegm(time.strptime(record["sealed"], "%Y-%m-%dT%H:%M:%SZ")) - time.time()) < 60
    assert record["revision"] == revision()
    identity = study_identity(tmp_path / "one")
    fields = {name: value for name, value in record.items() if name != "seal"}
    later = fields | {"sealed": "2030-01-01T00:00:00Z", "revision": "another"}
    write_json(tmp_path / "one" / FILE, later | {"seal": seal(later)})
    assert study_identity(tmp_path / "one") == identity


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(PLAN, margin=0.01), "margin is 0.005, not 0.01"),
        (replace(PLAN, seeds=Seeds(3, 6)), "seeds.cap is 5, not 6"),
        (replace(PLAN, tuning=Tuning(extensions=1)), "tuning.extensions is 2, not 1"),
        (replace(PLAN, base=replace(BASE, epochs=9)), "base.epochs is 3, not 9"),
        (replace(PLAN, arms=ARMS[:2]), "depths is [8, 14, 20], not [8, 14], arms differ"),
        (replace(PLAN, hypothesis="another"), "hypothesis is '"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_plan_is_refused_and_nothing_overwritten(tmp_path, other, named):
    store_plan(PLAN, tmp_path)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(InputError, match=r"another plan \(" + re.escape(named)):
        store_plan(other, tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_folders_of_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="other files"):
        store_plan(PLAN, tmp_path)
    with pytest.raises(InputError, match="is a file"):
        store_plan(PLAN, tmp_path / "notes.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_what_a_killed_write_left_is_no_obstacle(tmp_path):
    (tmp_path / "plan.json.0123.partial").write_text('{"form')
    assert store_plan(PLAN, tmp_path) == PLAN


def test_of_many_at_once_one_plan_wins(tmp_path):
    """Equal plans all go on; of different ones every loser is told."""
    plans, held, refused = [replace(PLAN, margin=0.01 * (1 + n % 2)) for n in range(12)], [], []
    start = threading.Barrier(len(plans))

    def enter(plan):
        start.wait()
        try:
            held.append(store_plan(plan, tmp_path / "study"))
        except InputError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=enter, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = load_plan(tmp_path / "study")
    assert len(held) == len(refused) == 6, refused
    assert set(held) == {winner}
    assert all("margin is" in text for text in refused)
    assert [file.name for file in (tmp_path / "study").iterdir()] == [FILE]


def resealed(change):
    def write(path):
        record = json.loads(path.read_text())
        change(record)
        write_json(path, record | {"seal": seal(record)})

    return write


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "holds no plan.json"),
        (lambda path: path.write_text(path.read_text()[:200]), "not readable as JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not readable as JSON"),
        (lambda path: path.write_text("[1]"), "changed after it was written"),
        (lambda path: path.write_text("{}"), "changed after it was written"),
        (lambda path: path.write_text(path.read_text().replace("0.005", "0.05")), "changed after it was written"),
        (resealed(lambda record: record.update(format="jaxcnn study plan 1")), "another version"),
        (resealed(lambda record: record.pop("arms")), "not a complete study plan"),
        (resealed(lambda record: record["arms"][0].update(depth_of="x")), "not a complete study plan"),
        (resealed(lambda record: record["study"].update(base=3)), "not a complete study plan"),
        (resealed(lambda record: record["study"]["base"].update(temperature=3)), "temperature"),
        (resealed(lambda record: record.update(arms=7)), "not a complete study plan"),
        (resealed(lambda record: record.update(rule="coin")), "rule='coin': unknown; choose one of"),
    ],
)
def test_damaged_plans(tmp_path, spoil, message):
    store_plan(PLAN, tmp_path)
    path = tmp_path / FILE
    spoil(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(InputError, match=message) as found:
        load_plan(tmp_path)
    assert str(tmp_path) in str(found.value)
    if before is not None:
        with pytest.raises(InputError, match=message):
            store_plan(PLAN, tmp_path)
        assert path.read_bytes() == before


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        load_plan(tmp_path / "nowhere")
