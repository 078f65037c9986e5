"""What is wrong with a command line: one line and the exit status 2."""

import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from jaxclip.command_line import check_arguments, refuse_words

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("arguments", "config", "line"),
    [
        (["main", "lr=1"], ConfigDict(), "unexpected argument 'lr=1'; settings are given as --config.KEY=VALUE"),
        (["main"], None, "--config: no such file; see the files in configs/"),
    ],
)
def test_words_and_missing_configs_end_the_program(arguments, config, line, capsys):
    with pytest.raises(SystemExit) as end:
        check_arguments(arguments, config)
    assert end.value.code == 2
    assert capsys.readouterr() == ("", f"Error: {line}\n")


def test_flags_alone_are_fine(capsys):
    refuse_words(["convert"])
    check_arguments(["main"], ConfigDict())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        ("generate", ["--captoins=a.csv"], "Unknown command line flag 'captoins'. Did you mean: captions ?"),
        ("embed", ["--output=a.npz"], "flag --checkpoint=None: Flag --checkpoint must have a value other than None."),
        ("export", ["--checkpoint=a", "--dest=b", "--format=open_clip", "c"], "unexpected argument 'c'; see --help"),
        ("convert", ["--source=a.pt", "--dest=b", "--format=c"], "flag --format=c: value should be one of"),
        (
            "main",
            ["--config=/nowhere.py", "--workdir=a", "--profile=5"],
            "flag --profile=5: found '5', expected FIRST:LAST, e.g. 100:110",
        ),
        (
            "main",
            [f"--config={ROOT}/configs/semclip.py", "--workdir=a", "--config.optimizer.learning_rat=1"],
            'config has no key \'learning_rat\'. Did you mean "learning_rate" instead of "learning_rat"?',
        ),
        ("embed", ["--checkpoint=scenes-base", "--output=a.npz"], "expected --images, --texts or both"),
    ],
)
def test_commands_say_it_in_one_line(command, arguments, reason, tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", f"jaxclip.{command}", *arguments],
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith(f"Error: {reason}") and result.stderr.count("\n") == 1
    assert result.stdout == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "commands",
    [("main", "generate", "convert", "export", "embed", "evaluate"), ("plan",)],  # plan has flags that main has as well
)
def test_no_command_imports_torch_or_tensorflow(commands, tmp_path):
    """Libraries import them where they find them: here they find empty ones."""
    for name in ("torch", "tensorflow"):
        (tmp_path / f"{name}.py").touch()
    imports = "\n".join(f"import jaxclip.{command}" for command in commands)
    program = f"import sys\n{imports}\nprint([name for name in ('torch', 'tensorflow') if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": "", "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.stdout == "[]\n", result.stdout + result.stderr
