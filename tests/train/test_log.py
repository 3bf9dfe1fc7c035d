"""What the console and the files are told."""

import json

from jaxcnn.train.log import JsonLines, epoch_line

RECORD = {
    "epoch": 3, "step": 21, "train_loss": 0.25, "train_accuracy": 0.9, "validation_loss": 0.5,
    "validation_accuracy": 0.8, "steps_timed": 7, "seconds": 1.25,
}  # fmt: skip


def test_an_epoch_is_one_short_line():
    line = epoch_line(RECORD, 10)
    assert line == "  3/10  train loss 0.2500 acc 0.9000  valid loss 0.5000 acc 0.8000  1.2 s"
    assert len(line) <= 80


def test_a_task_without_accuracy_shows_its_own_metrics():
    record = {"epoch": 1, "train_iou": 0.5, "validation_iou": 0.25, "seconds": 2.0}
    assert epoch_line(record, 1) == "  1/1  train iou 0.5000  valid iou 0.2500  2.0 s"


def test_json_lines_hold_a_record_each(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    lines.write(RECORD)
    lines.write({**RECORD, "step": 28})
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [21, 28]
    assert lines.read(up_to_epoch=4)[0] == RECORD


def test_the_last_line_of_a_whole_run_has_the_test_split_which_a_resume_leaves_out(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    first, last = {**RECORD, "epoch": 1}, {**RECORD, "epoch": 2}
    lines.write(first)
    lines.write(last)
    lines.complete([first, last], {"test_loss": 0.75})
    written = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line).get("test_loss") for line in written] == [None, 0.75]
    assert lines.read(up_to_epoch=2) == [first, last]
