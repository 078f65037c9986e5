"""Progress bars: counting, stopping, nothing left behind."""

import pytest

from jaxclip.console import Bar, say


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
