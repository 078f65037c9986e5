"""The soak in small: kills of three kinds at random moments, and the bits of a run that was left alone."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_kills_leave_no_trace(tmp_path):
    output = tmp_path / "soak"
    command = [sys.executable, "-m", "bench.soak", f"--output={output}", "--kills=3", "--steps=40", "--seed=15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    logs = {path.name: path.read_text()[-2000:] for path in output.glob("*.log")}
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{logs}"
    document = json.loads((output / "soak.json").read_text())
    assert document["figures and parameters bitwise equal"]
    assert {kill["kind"] for kill in document["kills"]} == {"SIGKILL of one", "SIGKILL of all", "SIGTERM to one"}
