"""Progress bars: counting, stopping, nothing left behind; notes and errors as lines."""

import warnings

import pytest

from jaxclip.console import Bar, notes, say, user_errors


def test_bar_counts_to_its_end_and_not_beyond(capsys):
    with Bar("images", 10, "images", lambda: None) as bar:
        bar.advance(4)
        bar.advance(100)
        assert bar._bar.n == 10
    assert "images: 100%" in capsys.readouterr().err


def test_check_is_called_after_each_batch_and_may_stop():
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError), Bar("x", 10, "x", check) as bar:
        bar.advance(1)
        bar.advance(1)
        bar.advance(1)
    assert len(calls) == 2


def test_say_prints_a_line(capsys):
    say("a line")
    assert capsys.readouterr().out == "a line\n"


def test_warnings_become_notes(capsys):
    with notes():
        warnings.warn("the vocabulary is taken to be CLIP's own", stacklevel=1)
    assert capsys.readouterr().out == "Note: the vocabulary is taken to be CLIP's own\n"


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (FileNotFoundError("a.pt: no such file"), 1, "Error: a.pt: no such file\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_errors_of_users_are_one_line(error, status, line, capsys):
    with pytest.raises(SystemExit) as end, user_errors(OSError):
        raise error
    assert end.value.code == status
    assert capsys.readouterr() == ("", line)


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), user_errors(OSError):
        raise ZeroDivisionError
