"""A file holds the old content or the new one, whatever happens."""

import os

import pytest

from jaxclip.files import write_atomically


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")
    assert path.read_bytes() == b"old" and [file.name for file in tmp_path.iterdir()] == ["file"]


def test_writers_of_equal_process_ids_do_not_meet(tmp_path, monkeypatch):
    """In containers every program is process 1; here a second one writes all of its file amid the first one's."""
    path, replace = tmp_path / "file", os.replace

    def another_writes_first(source, target):
        monkeypatch.setattr(os, "replace", replace)
        write_atomically(path, b"theirs")
        replace(source, target)

    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(os, "replace", another_writes_first)
    write_atomically(path, b"ours")
    assert path.read_bytes() == b"ours" and [file.name for file in tmp_path.iterdir()] == ["file"]
