"""Checksums of a directory, against `hashlib` and by damage."""

import hashlib
import json

import pytest

from jaxclip.checksums import CHECKSUMS, find_damage, write_checksums

COUNT = 40  # more files than threads


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "params").mkdir()
    for number in range(COUNT):
        (tmp_path / "params" / f"file{number:02}").write_bytes(bytes([number]) * (1000 * number))
    write_checksums(tmp_path)
    return tmp_path


def test_every_file_has_its_own_sum(directory):
    expected = {}
    for number in range(COUNT):
        content = bytes([number]) * (1000 * number)
        expected[f"params/file{number:02}"] = [len(content), hashlib.sha256(content).hexdigest()]
    assert json.loads((directory / CHECKSUMS).read_text()) == expected
    assert find_damage(directory) is None


def test_the_first_damaged_file_is_named(directory):
    for number in (31, 7):
        (directory / "params" / f"file{number:02}").write_bytes(b"x" * (1000 * number))
    assert find_damage(directory) == f"{directory}/params/file07 does not hold what was written"
    assert find_damage(directory, "params/file3") == f"{directory}/params/file31 does not hold what was written"
    assert find_damage(directory, "params/file2") is None


def test_missing_and_cut_files(directory):
    (directory / "params" / "file05").write_bytes(b"x")
    assert find_damage(directory) == f"{directory}/params/file05 has 1 bytes, 5000 were written"
    (directory / "params" / "file05").unlink()
    assert find_damage(directory) == f"{directory}/params/file05 is missing"
