"""Files written in one move, and sealed."""

import json
import threading

import pytest

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import PARTIAL, atomic_write, holds_files, read_sealed, write_json, write_sealed, write_text


def test_an_interrupted_write_leaves_the_old_file_and_no_leftover(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"old": 1})

    def interrupted():
        with atomic_write(file) as partial:
            partial.write_text('{"ne')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert json.loads(file.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_once_never_replaces(tmp_path):
    write_json(tmp_path / "a.json", {"first": 1}, once=True)
    with pytest.raises(FileExistsError):
        write_json(tmp_path / "a.json", {"second": 1}, once=True)
    assert json.loads((tmp_path / "a.json").read_text()) == {"first": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_once_without_hard_links(tmp_path, monkeypatch):
    import os

    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    test_once_never_replaces(tmp_path)


def test_many_writers_of_one_file_do_not_meet(tmp_path):
    file, seen = tmp_path / "a.json", []
    write_sealed(file, {"writer": -1})

    def write(number):
        for _ in range(20):
            write_sealed(file, {"writer": number, "long": "x" * 10_000})
            seen.append(read_sealed(file, "")["writer"])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 80
    assert list(tmp_path.iterdir()) == [file]


def test_a_seal_shows_every_edit(tmp_path):
    file = tmp_path / "a.json"
    write_sealed(file, {"b": 1, "a": [1.5, None, "x"]})
    assert read_sealed(file, "redo it")["a"] == [1.5, None, "x"]
    whole = file.read_text()
    for old, new in (("1.5", "1.50001"), ("null", "0"), ('"x"', '"y"'), ('"b": 1', '"b": 1.0'), ('"b": 1', '"c": 1')):
        file.write_text(whole.replace(old, new))
        with pytest.raises(InputError, match=r"a\.json.*seal is broken.*; redo it"):
            read_sealed(file, "redo it")
    for cut in range(0, len(whole) - 2, 7):
        file.write_text(whole[:cut])
        with pytest.raises(InputError, match="not readable as JSON"):
            read_sealed(file, "redo it")
    file.write_text(json.dumps(json.loads(whole), indent=7, sort_keys=True))
    assert read_sealed(file, "")["b"] == 1


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": -Infinity}', "[" * 100_000, "1" * 5_000])
def test_what_other_readers_of_json_refuse_is_refused(tmp_path, text):
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"a\.json': not readable as JSON .*; redo it"):
        read_sealed(file, "redo it")


def test_a_text_is_written_whatever_it_holds(tmp_path):
    write_text(tmp_path / "a.md", "ü💥 b\udcff\n")
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == "ü💥 b\\udcff\n"
    assert [file.name for file in tmp_path.iterdir()] == ["a.md"]


def test_json_of_numbers_that_are_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_sealed(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_no_content(tmp_path):
    (tmp_path / f"a.json.123{PARTIAL}").write_text("")
    assert not holds_files(tmp_path)
    (tmp_path / "b").write_text("")
    assert holds_files(tmp_path)
    assert not holds_files(tmp_path / "b")
