"""Directories appear complete or not at all, and nothing is lost on the way."""

import pytest

from jaxclip.weights.destination import new_directory


def write(directory, text):
    with new_directory(directory, "marker", "a thing") as partial:
        (partial / "marker").write_text(text)


def test_a_directory_is_made_and_replaced(tmp_path):
    write(tmp_path / "deep" / "thing", "one")
    write(tmp_path / "deep" / "thing", "two")
    assert (tmp_path / "deep" / "thing" / "marker").read_text() == "two"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["thing"]


def test_an_empty_directory_is_filled(tmp_path):
    (tmp_path / "thing").mkdir()
    write(tmp_path / "thing", "one")
    assert (tmp_path / "thing" / "marker").read_text() == "one"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_what_was_there(error, tmp_path):
    write(tmp_path / "thing", "one")
    with pytest.raises(error), new_directory(tmp_path / "thing", "marker", "a thing") as partial:
        (partial / "marker").write_text("half")
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
    assert (tmp_path / "thing" / "marker").read_text() == "one"


def test_what_a_kill_left_is_cleaned_up_or_restored(tmp_path):
    write(tmp_path / ".thing.previous", "one")  # killed between the renames: the old one has no name
    (tmp_path / ".thing.partial").mkdir()
    with pytest.raises(ValueError), new_directory(tmp_path / "thing", "marker", "a thing"):
        raise ValueError
    assert (tmp_path / "thing" / "marker").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("dear")
    with pytest.raises(OSError, match=r"file/thing: cannot be written: Not a directory \(.*file/.thing.partial\)"):
        write(tmp_path / "file" / "thing", "one")


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_anything_else_is_left_alone(kind, tmp_path):
    other = tmp_path / "other"
    if kind == "file":
        other.write_text("dear")
    else:
        other.mkdir()
        (other / "letter").write_text("dear")
    with pytest.raises(FileExistsError, match="other: exists and is not a thing; it will not be replaced"):
        write(other, "one")
    assert other.exists() and not (tmp_path / ".other.partial").exists()
