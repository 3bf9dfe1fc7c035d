"""A run's folder and result, on scikit-learn's digits."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from flax import linen

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.records import as_record, from_record
from jaxcnn.run import evaluate_run, load_result, predict, run, run_seeds
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.own_module import module_record
from jaxcnn.runtime.files import write_sealed
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.train.optimizer import schedule_shape

CONFIG = RunConfig(model=ModelSpec("plain", depth=3, width=4), epochs=2, batch_size=128)


class Mine(linen.Module):
    """A user's own module: neither `train` nor `mask`."""

    @linen.compact
    def __call__(self, x):
        return linen.Dense(10)(linen.relu(linen.Conv(4, (3, 3))(x)).reshape((x.shape[0], -1)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "digits"
    return run(CONFIG, out=out, progress=False)


def test_result_is_consistent(finished):
    p = finished.predictions
    assert len(p["labels"]) == finished.data["sizes"]["test"] == 360
    np.testing.assert_array_equal(p["correct"], p["labels"] == p["predictions"])
    assert finished.metrics["test_accuracy"] == pytest.approx(p["correct"].mean())
    assert [record["epoch"] for record in finished.history] == [1, 2]
    assert not any(name.startswith("test") for record in finished.history for name in record)
    assert set(finished.seconds) == {"compile", "train", "step", "total"}


def test_folder_holds_what_the_docs_say(finished):
    names = {path.name for path in finished.directory.iterdir()}
    assert names == {
        "config.json", "data.json", "environment.json", "metrics.jsonl", "checkpoints", "checkpoints_digests",
        "predictions.npz", "result.json",
    }  # fmt: skip
    lines = [json.loads(line) for line in (finished.directory / "metrics.jsonl").read_text().splitlines()]
    tested = {name: value for name, value in finished.metrics.items() if name.startswith("test_")}
    assert lines == [finished.history[0], {**finished.history[1], **tested}]
    assert set(tested) == {"test_loss", "test_accuracy"}


def test_every_epoch_records_its_learning_rate(finished):
    steps = finished.history[0]["step"]
    shape = schedule_shape(CONFIG.optimizer, 2 * steps, steps)
    wanted = [CONFIG.optimizer.learning_rate * float(shape(step)) for step in (steps - 1, 2 * steps - 1)]
    assert [record["learning_rate"] for record in finished.history] == pytest.approx(wanted)
    assert wanted[0] > wanted[1] > 0


def test_a_finished_run_is_read_not_repeated(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.directory.rglob("*")}
    again = run(CONFIG, out=finished.directory, progress=False)
    assert again.metrics == finished.metrics
    assert again.config == CONFIG
    np.testing.assert_array_equal(again.predictions["predictions"], finished.predictions["predictions"])
    assert {path: path.stat().st_mtime_ns for path in finished.directory.rglob("*")} == before


def test_another_configuration_is_refused_and_nothing_overwritten(finished):
    before = {path: path.read_bytes() for path in finished.directory.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"holds a run of another configuration \(epochs is 2, not 3\)"):
        run(replace(CONFIG, epochs=3), out=finished.directory, progress=False)
    assert {path: path.read_bytes() for path in finished.directory.rglob("*") if path.is_file()} == before


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds files but no run"):
        run(CONFIG, out=tmp_path, progress=False)
    with pytest.raises(InputError, match="it is a file"):
        run(CONFIG, out=tmp_path / "thesis.tex", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_mistaken_name_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="no_such_set"):
        run(replace(CONFIG, data=DataConfig("no_such_set")), out=tmp_path / "r", progress=False)
    assert not (tmp_path / "r").exists()


def test_same_seed_same_run_other_seed_other_run(finished):
    again = run(CONFIG, progress=False)
    assert again.directory is None
    assert again.metrics == finished.metrics
    assert run(replace(CONFIG, seed=1), progress=False).metrics != finished.metrics


def test_the_test_split_is_read_once_and_last():
    dataset, events = load(CONFIG.data), []

    def load_test():
        events.append("test")
        return dataset.load_test()

    run(
        CONFIG, dataset=dataset._replace(load_test=load_test), progress=False,
        on_epoch=lambda record: events.append(record["epoch"]),
    )  # fmt: skip
    assert events == [1, 2, "test"]


def test_evaluate_reads_the_checkpoint(finished):
    assert evaluate_run(finished.directory) == pytest.approx(
        {"loss": finished.metrics["test_loss"], "accuracy": finished.metrics["test_accuracy"]}, rel=1e-6
    )
    validation = evaluate_run(finished.directory, split="validation")
    assert validation["accuracy"] == pytest.approx(finished.metrics["validation_accuracy"])
    with pytest.raises(InputError, match="split='exam'"):
        evaluate_run(finished.directory, split="exam")


def test_a_run_that_keeps_nothing_is_the_same_run_without_a_checkpoint(finished, tmp_path):
    """On its way it has those that a resume needs."""
    saved = []

    def look(record):
        saved.append((tmp_path / "run" / "checkpoints").exists())

    kept_none = replace(CONFIG, keep=0, epochs=3)
    result = run(kept_none, out=tmp_path / "run", progress=False, on_epoch=look)
    assert saved == [True, True, True]
    assert not list((tmp_path / "run").glob("checkpoints*"))
    assert load_result(result.directory).metrics == result.metrics
    assert run(replace(CONFIG, epochs=3), progress=False).metrics == result.metrics
    with pytest.raises(InputError, match="keep=0"):
        evaluate_run(tmp_path / "run")


def test_predict_sees_what_training_saw(finished, tmp_path):
    """The test split's images, saved as files and enlarged, come back as the recorded predictions."""
    from PIL import Image

    test = load(CONFIG.data).load_test()
    paths = []
    for i in range(8):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(test["images"][i, :, :, 0]).save(paths[-1])
    found = predict(finished.directory, paths)
    assert [p["name"] for p in found] == [str(c) for c in finished.predictions["predictions"][:8]]
    np.testing.assert_allclose([p["probability"] for p in found], finished.predictions["probability"][:8], rtol=1e-4)
    assert all(len(p["top"]) == 5 and p["top"][0] == (p["name"], p["probability"]) for p in found)
    with pytest.raises(InputError, match=r"nothing\.png.*no such file"):
        predict(finished.directory, [tmp_path / "nothing.png"])


def test_own_module(tmp_path):
    result = run(CONFIG, model=Mine(), out=tmp_path / "mine", progress=False)
    assert result.params == (9 * 4 + 4) + (8 * 8 * 4 * 10 + 10)
    assert result.macs == 9 * 4 * 64 + 8 * 8 * 4 * 10
    assert load_result(tmp_path / "mine").metrics == result.metrics
    assert evaluate_run(tmp_path / "mine", model=Mine())["accuracy"] == pytest.approx(result.metrics["test_accuracy"])
    with pytest.raises(InputError, match=r"your own module .*Mine"):
        evaluate_run(tmp_path / "mine")
    with pytest.raises(InputError, match="another configuration"):
        run(CONFIG, out=tmp_path / "mine", progress=False)


def test_a_checkpoint_of_another_model_is_refused(finished, tmp_path):
    """Somebody edits config.json by hand: the checkpoint says no, and names what differs."""

    forged = tmp_path / "forged"
    shutil.copytree(finished.directory, forged)
    record = as_record(replace(CONFIG, model=replace(CONFIG.model, width=5)))
    (forged / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="it was changed after it was written"):  # the seal of the result says so
        evaluate_run(forged)
    (forged / "result.json").unlink()
    with pytest.raises(InputError, match=r"another model.*batch_stats.*\(4,\)"):
        evaluate_run(forged)


def test_unfinished_and_foreign_folders_are_named(tmp_path, finished):
    with pytest.raises(InputError, match="not a run folder"):
        load_result(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(as_record(CONFIG)))
    with pytest.raises(InputError, match="not finished"):
        load_result(tmp_path)
    with pytest.raises(InputError, match="no checkpoint"):
        evaluate_run(tmp_path)
    (tmp_path / "config.json").write_text('{"model": ')
    with pytest.raises(InputError, match="not readable as JSON"):
        load_result(tmp_path)
    for other in ("[]", "3"):
        (tmp_path / "config.json").write_text(other)
        with pytest.raises(InputError, match="not a JSON object"):
            evaluate_run(tmp_path)
        with pytest.raises(InputError, match="not a JSON object"):
            run(CONFIG, out=tmp_path, progress=False)
    (tmp_path / "config.json").write_text('{"data": 3}')
    with pytest.raises(InputError, match=r"config\.json\.data: expected an object"):
        run(CONFIG, out=tmp_path, progress=False)
    (tmp_path / "config.json").write_text('{"model": 3}')
    with pytest.raises(InputError, match=r"config\.json\.model: expected an object"):
        load_result(tmp_path)


def test_leftovers_of_a_killed_write_do_not_block_the_folder(tmp_path):
    (tmp_path / "config.json.partial").write_text('{"mod')
    RunFolder(tmp_path).claim(as_record(CONFIG))
    assert RunFolder(tmp_path).read_config() == (CONFIG, None)


def test_a_folder_at_which_another_process_trains_is_refused_until_it_ends(tmp_path, finished):
    out = tmp_path / "run"
    RunFolder(out).claim(as_record(CONFIG))
    hold = "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(1); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-uc", hold, str(out)], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        before = {path: path.read_bytes() for path in out.iterdir()}
        with pytest.raises(InputError, match="another process is training this run; wait for its end"):
            run(CONFIG, out=out, progress=False)
        assert {path: path.read_bytes() for path in out.iterdir()} == before
        other.kill()
    assert run(CONFIG, out=out, progress=False).metrics == finished.metrics


@pytest.mark.parametrize(("field", "value"), [("epochs", 0), ("batch_size", 0), ("seed", -1), ("checkpoint_every", 0)])
def test_impossible_values_are_named(field, value):
    with pytest.raises(InputError, match=f"{field}={value}"):
        run(replace(CONFIG, **{field: value}), progress=False)


def test_wrong_number_of_classes_is_named():
    with pytest.raises(InputError, match=r"num_classes=7: data set digits has 10"):
        run(replace(CONFIG, model=replace(CONFIG.model, num_classes=7)), progress=False)


def test_records_round_trip():
    config = RunConfig(optimizer=OptimizerConfig("adam", milestones=(0.3,)), data=DataConfig(augment=("flip",)))
    assert from_record(RunConfig, json.loads(json.dumps(as_record(config)))) == config
    with pytest.raises(InputError, match="unknown field 'epoch'"):
        from_record(RunConfig, {"epoch": 3})


def test_seeds_are_summarised(tmp_path):
    results = run_seeds(replace(CONFIG, epochs=1), (0, 1), out=tmp_path, progress=False)
    summary = json.loads((tmp_path / "summary.json").read_text())
    values = [result.metrics["test_accuracy"] for result in results]
    assert summary["metrics"]["test_accuracy"]["runs"] == values
    assert summary["metrics"]["test_accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert summary["metrics"]["test_accuracy"]["sd"] == pytest.approx(np.std(values, ddof=1))
    with pytest.raises(InputError, match="seeds"):
        run_seeds(CONFIG, (), out=tmp_path)


@pytest.mark.parametrize("name", ["config.json", "data.json", "environment.json"])
def test_a_result_is_bound_to_the_files_beside_it(finished, tmp_path, name):
    """Each whole, and not of one run: the result of one folder, the rest of another."""
    copy = shutil.copytree(finished.directory, tmp_path / "copy")
    record = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps(record | {next(iter(record)): "other"}))
    with pytest.raises(InputError, match=rf"{name}.*(belongs to another run|expected an object)"):
        load_result(copy)


def test_results_of_earlier_versions_have_no_such_bond_and_are_read(finished, tmp_path):
    copy = shutil.copytree(finished.directory, tmp_path / "copy")
    record = json.loads((copy / "result.json").read_text())
    del record["files"]
    write_sealed(copy / "result.json", record)
    assert load_result(copy).metrics == finished.metrics


@pytest.mark.parametrize("kept", [0, 1])
def test_a_history_that_lost_epochs_is_refused(finished, tmp_path, kept):
    """The checkpoint has trained two epochs and metrics.jsonl tells of fewer."""
    copy = shutil.copytree(finished.directory, tmp_path / "copy")
    (copy / "result.json").unlink()
    lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
    (copy / "metrics.jsonl").write_text("".join(lines[:kept]))
    left = (copy / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"metrics\.jsonl.*does not hold the 2 epochs"):
        run(CONFIG, out=copy, progress=False)
    assert (copy / "metrics.jsonl").read_bytes() == left
    (copy / "metrics.jsonl").write_text("no record\n" + "".join(lines[1:]))
    with pytest.raises(InputError, match="does not hold the 2 epochs"):
        run(CONFIG, out=copy, progress=False)
    assert (copy / "metrics.jsonl").read_text() == "no record\n" + "".join(lines[1:])
    (copy / "metrics.jsonl").write_text("".join(lines))
    assert run(CONFIG, out=copy, progress=False).metrics == finished.metrics


def test_a_resumed_run_counts_the_time_of_all_its_epochs(finished, tmp_path):
    copy = shutil.copytree(finished.directory, tmp_path / "copy")
    (copy / "result.json").unlink()
    again = run(CONFIG, out=copy, progress=False)
    assert again.seconds["train"] == finished.seconds["train"]
    assert again.seconds["total"] > again.seconds["train"]


def test_a_function_in_a_module_has_no_address_in_its_record():
    record = module_record(linen.Dense(3, kernel_init=lambda *_: None))
    assert record["module"] == "flax.linen.linear:Dense"
    assert "lambda" in record["fields"]
    assert "0x" not in record["fields"]
