"""A disk that is full, read-only or gone: one message, no traceback, and the checkpoints before it are whole."""

import contextlib
import resource
import subprocess

import pytest
from failing_processes import Processes, figures, run, steps_on_disk

from jaxclip.checksums import find_damage

LONG = {"steps": 100_000, "pause": 0.2}


@contextlib.contextmanager
def mounted(path, *options):
    """A small file system of its own in memory; skips the test where we may not make one."""
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", *options, "none", str(path)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def assert_one_error(shown, *words):
    assert shown.count("Error: ") == 1, shown
    message = shown[shown.index("Error: ") :].strip()
    assert "Traceback" not in shown, shown
    assert all(word in message for word in words), message
    assert len(message.splitlines()) == 1, message


def assert_whole(workdir):
    steps = steps_on_disk(workdir)
    assert steps and not any(find_damage(workdir / "checkpoints" / str(step)) for step in steps)
    return steps[-1]


def test_a_full_disk(tmp_path):
    workdir = tmp_path / "disk" / "run"
    with mounted(tmp_path / "disk", "-o", "size=8m"):
        with Processes(workdir, 1, **LONG) as processes:
            processes.wait_for_checkpoint(3)
            with contextlib.suppress(OSError), (tmp_path / "disk" / "other").open("wb", 0) as filler:
                while True:
                    filler.write(bytes(4096))
            assert processes.ends() == [1]
            assert_one_error(processes.shown(0), "space", str(workdir))
        last = assert_whole(workdir)
        (tmp_path / "disk" / "other").unlink()
        run(workdir, steps=last + 2)
        assert figures(workdir)[-1]["step"] == last + 2


def test_a_file_that_may_not_grow(tmp_path):
    """A quota, as far as a process can tell."""
    workdir = tmp_path / "run"
    with Processes(workdir, 1, **LONG) as processes:
        processes.wait_for_checkpoint(3)
        resource.prlimit(processes.pid(0), resource.RLIMIT_FSIZE, (20_000, 20_000))
        assert processes.ends() == [1]
        assert_one_error(processes.shown(0), "File too large")
    last = assert_whole(workdir)
    run(workdir, steps=last + 1)


def test_a_work_directory_that_cannot_be_written(tmp_path):
    with mounted(tmp_path / "disk", "-o", "ro"), Processes(tmp_path / "disk", 1, **LONG) as processes:
        assert processes.ends() == [1]
        assert_one_error(processes.shown(0), "Read-only file system", str(tmp_path / "disk"))


def test_a_work_directory_that_vanishes(tmp_path):
    workdir = tmp_path / "run"
    with Processes(workdir, 1, **LONG) as processes:
        processes.wait_for_checkpoint(3)
        workdir.rename(tmp_path / "elsewhere")
        assert processes.ends() == [1]
        assert_one_error(processes.shown(0), str(workdir), "vanished")
    assert not workdir.exists()
    last = assert_whole(tmp_path / "elsewhere")
    run(tmp_path / "elsewhere", steps=last + 1)
