"""`jaxcnn data` and `jaxcnn doctor`."""

import json

from jaxcnn.runtime.onednn import status
from tests.cli.calls import call, refused


def test_data_sets_are_listed_and_described(capsys):
    listed = json.loads(call(capsys, "data", "--json")[1])
    assert {"digits", "glyphs"} <= {entry["name"] for entry in listed}
    assert "glyphs" in call(capsys, "data")[1]
    described = json.loads(call(capsys, "data", "digits", "--json")[1])
    assert described["sizes"] == {"train": 1137, "validation": 300, "test": 360}
    assert "scikit-learn" in call(capsys, "data", "digits")[1]


def test_doctor_reports_and_finds_shadows(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "doctor", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["versions"]["jax"][0].isdigit()
    assert facts["convolutions on a CPU"] == ": ".join(filter(None, status()))
    (tmp_path / "jax.py").write_text("")
    (tmp_path / "keras.py").write_text("")
    (tmp_path / "grain").mkdir()
    (tmp_path / "grain" / "__init__.py").write_text("")
    assert "jax.py, keras.py, grain/" in refused(capsys, "doctor")
