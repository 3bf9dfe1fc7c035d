"""`jaxcnn study` and `jaxcnn report` on a study of seconds."""

import json

import pytest

from jaxcnn.cli import main

STUDY = [
    "study", "--model.family", "plain", "--depths", "3", "5", "--params", "2500", "--tolerance", "0.05",
    "--seeds", "2", "--epochs", "1", "--data.train-size", "200",
]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "s"
    main([*STUDY, "--out", str(out)])
    return out


def test_study_writes_its_report_and_report_rebuilds_it(study, capsys):
    pages = {name: (study / name).read_bytes() for name in ("report.md", "report.html", "report.json")}
    for name in pages:
        (study / name).unlink()
    main(["report", str(study)])
    assert {name: (study / name).read_bytes() for name in pages} == pages
    out = capsys.readouterr().out
    assert "report.html" in out
    assert json.loads((study / "report.json").read_text())["verdict"]


def test_another_study_in_the_same_folder_is_refused(study, capsys):
    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        main([*STUDY, "--out", str(study), "--params", "4000"])
    assert stop.value.code == 2
    assert str(study) in capsys.readouterr().err
    assert {path: path.read_bytes() for path in study.rglob("*") if path.is_file()} == before


def test_a_budget_that_cannot_be_met_names_the_nearest(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["study", "--model.family", "plain", "--depths", "9", "--params", "20", "--out", str(tmp_path / "s")])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "params=20" in error
    assert "nearest" in error
    assert not (tmp_path / "s").exists()
