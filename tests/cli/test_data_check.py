"""`jaxcnn data check`: one report, three exit codes, never a traceback."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxcnn.cli.data import lines
from jaxcnn.data import check as inspection
from jaxcnn.data.check import inspect
from jaxcnn.spec import DataConfig
from tests.cli.calls import call, refused

RNG = np.random.default_rng(0)


def noise(path, size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, size, np.uint8)).save(path)


@pytest.fixture
def root(tmp_path):
    for label in ("cats", "dogs"):
        for i in range(20):
            noise(tmp_path / "set" / label / f"{i}.png")
    return tmp_path / "set"


def test_a_good_set_is_exit_0(capsys, root):
    code, out, error = call(capsys, "data", "check", root)
    assert (code, error) == (0, "")
    assert out.splitlines()[0] == f"{root}: 40 images in 2 classes"
    assert "  height x width: 8x8 (40)\n" in out
    assert "  classes: cats (20), dogs (20)\n" in out
    assert out.endswith("usable as it is\n")


def test_bad_files_are_exit_1_and_named(capsys, root):
    (root / "cats" / "empty.png").write_bytes(b"")
    for i in range(12):
        (root / "dogs" / f"text {i:02}.png").write_text("hello")
    code, out, error = call(capsys, "data", "check", root)
    assert (code, error) == (1, "")
    assert "  13 of them cannot be decoded\n" in out
    assert "refused; --on-bad skip leaves them out:\n" in out
    assert "       1 empty files (0 bytes)\n           cats/empty.png: the file is empty (0 bytes)\n" in out
    assert "dogs/text 09.png" in out
    assert "dogs/text 10.png" not in out
    assert "           and 2 more\n" in out
    assert out.splitlines()[-1].startswith("not usable as it is: repair or remove the files")
    assert call(capsys, "data", "check", root, "--on-bad", "skip")[0] == 0


def test_leaks_are_exit_1(capsys, root):
    for i in range(20):
        shutil.copyfile(root / "cats" / f"{i}.png", root / "cats" / f"again {i}.png")
    code, out, _ = call(capsys, "data", "check", root)
    assert code == 1
    assert "usable, but results would mislead:\n" in out
    assert "test images that are also training images, pixel for pixel" in out
    assert "all splits but one" in out.splitlines()[-1]


def test_what_load_refuses_is_exit_2_with_one_sentence(capsys, root):
    noise(root / "cats" / "wide.png", (8, 12))
    (root / "birds").mkdir()
    code, out, error = call(capsys, "data", "check", root)
    assert code == 2
    assert error.startswith("jaxcnn: class folder ")
    assert error.count("\n") == 1
    assert "cannot be used:\n  class folder " in out
    assert "set size, such as size=64" in out
    (root / "birds").rmdir()
    assert "set size, such as --size 64" in refused(capsys, "data", "check", root)
    assert call(capsys, "data", "check", root, "--size", "8")[0] == 0


def test_json_is_plain_and_holds_the_same(capsys, root):
    (root / "cats" / "tab\there.png").write_bytes(b"")
    code, out, error = call(capsys, "data", "check", root, "--json")
    assert (code, error) == (1, "")
    found = json.loads(out)
    assert found["verdict"] == "flawed"
    assert found["findings"]["empty"] == {"count": 1, "names": ["cats/tab\\there.png: the file is empty (0 bytes)"]}
    assert sum(map(sum, found["splits"].values())) == 40


def test_names_that_cannot_be_printed_are_escaped(root):
    shutil.move(root / "dogs", root / "\U0001f415\x1b[31m")
    try:
        with open(os.path.join(os.fsencode(root), b"cats", b"\xff\n.png"), "wb") as file:
            file.write(b"hello")
    except OSError:
        pytest.skip("this file system takes only names that are text")
    done = subprocess.run(
        [sys.executable, "-m", "jaxcnn", "data", "check", str(root)],
        capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert rb"cats/\udcff\n.png: it is not an image" in done.stdout
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr


def test_arrays_and_embedded_sets(capsys, tmp_path):
    images, labels = RNG.integers(0, 256, (40, 6, 5), np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    assert call(capsys, "data", "check", tmp_path / "set.npz")[0] == 0
    np.savez(tmp_path / "set.npz", images=images / 255 * np.nan, labels=labels)
    assert "not finite" in refused(capsys, "data", "check", tmp_path / "set.npz")
    assert call(capsys, "data", "check", "glyphs", "--classes", "3", "--images", "200")[0] == 0


def test_bad_calls_are_named(capsys):
    assert "no_such_set" in refused(capsys, "data", "check", "no_such_set")
    assert "NAME: needs a value" in refused(capsys, "data", "check")
    assert "--size 0" in refused(capsys, "data", "check", "digits", "--size", "0")
    assert "usage: jaxcnn data check" in call(capsys, "data", "check", "--help")[1]


def test_ctrl_c_ends_cleanly(capsys, root, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(inspection, "scan_file", interrupted)
    code, out, error = call(capsys, "data", "check", root)
    assert (code, out, error) == (130, "", "interrupted\n")


def test_the_report_is_printable_lines(root):
    found = inspect(DataConfig(str(root)))
    assert all(line.isprintable() for line in lines(found))
