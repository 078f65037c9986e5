"""`jaxclip.plan` as a command: CPU devices, and a TPU slice where the TPU compiler is installed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxclip.model import VARIANTS, parameter_shapes

REPOSITORY = Path(__file__).resolve().parents[1]


def plan(*arguments: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-m", "jaxclip.plan", *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )


def planned(output: Path, *arguments: str) -> tuple[dict, str]:
    done = plan("--config=configs/semclip.py:smoke", "--arch=scenes", f"--output={output}", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(output.read_text()), done.stdout


def parameter_bytes(pattern: str = "") -> int:
    """Bytes of the float32 parameters whose path begins with `pattern`, counted from their shapes."""
    total = 0
    for path, shape in parameter_shapes(VARIANTS["scenes"]).items():
        size = 4
        for length in shape:
            size *= length
        total += size if path.startswith(pattern) else 0
    return total


TRAINED = sum(
    map(
        parameter_bytes,
        [f"text/transformer/resblocks_{n}/" for n in range(3)]
        + ["text/ln_final", "text/text_projection", "logit_scale"],
    )
)


def test_eight_cpu_devices_end_to_end(tmp_path):
    document, printed = planned(tmp_path / "plan.json", "--topology=cpu:8", "--config.model.remat=none")
    memory, stream = document["memory"], document["streams"]["train"]
    assert document["devices"] == 8 and document["mesh"] == {"data": 8, "model": 1}
    assert memory["trained_parameters"] == TRAINED
    # The image tower is frozen and its features are cached: its weights are not on the devices.
    assert memory["frozen_parameters"] == parameter_bytes("text") + parameter_bytes("logit_scale") - TRAINED
    # Adam's two moments; the step, its count and the schedule's are int32.
    assert memory["optimizer_state"] == 2 * TRAINED + 3 * 4
    # 8 records a device: one feature of 128 float32 each, 24 texts in rows of 64 tokens with three int32 a token.
    rows = stream["rows_per_group"]
    assert memory["batch"] == 8 * 128 * 4 + 24 * 4 + rows * 64 * 3 * 4
    assert memory["total"] == sum(value for kind, value in memory.items() if kind != "total")
    assert stream["batch_size"] == 64 and stream["texts"] == 192 and stream["images"] == "features"
    assert document["flops"]["ratio_to_minimum"] == pytest.approx(1, abs=0.01)
    assert document["flops"]["recomputed"] == 0
    # Every gradient is summed over the devices, and two norms and the losses with them.
    assert document["collectives"]["all-reduce"]["payload"] >= TRAINED
    assert document["loops_of_unknown_length"] == []
    assert document["fits"] is None and document["roofline"] is None
    assert "trained parameters" in printed and "analytic minimum" in printed and "all-reduce" in printed


def test_a_model_axis_splits_matrices(tmp_path):
    settings = ("--config.mesh.model=2", "--config.model.remat=full")
    document, _ = planned(tmp_path / "plan.json", "--topology=cpu:4", *settings)
    kernels = 3 * 4 * (128 * 384 + 128 * 128 + 2 * 128 * 512) + 3 * 4 * 512  # of three blocks, and the bias of c_fc
    assert document["memory"]["trained_parameters"] == TRAINED - kernels // 2
    # With rematerialisation the blocks run again, and that explains what is beyond the minimum.
    assert document["flops"]["recomputed"] > 0
    assert document["flops"]["ratio_to_minimum"] > 1.1
    assert document["flops"]["ratio_to_minimum_and_recomputed"] == pytest.approx(1, abs=0.01)


def test_microbatches_chunks_and_sharded_parameters(tmp_path):
    settings = ("--config.microbatch=8", "--config.loss_chunk=4", "--config.mesh.parameters=sharded")
    document, _ = planned(tmp_path / "plan.json", "--topology=cpu:4", *settings)
    assert document["streams"]["train"]["groups"] == 4 * 2
    assert TRAINED / 4 <= document["memory"]["trained_parameters"] < 1.1 * TRAINED / 4  # small leaves stay whole
    assert document["collectives"]["reduce-scatter"]["payload"] > 0.9 * TRAINED
    assert document["flops"]["ratio_to_minimum_and_recomputed"] == pytest.approx(1, abs=0.01)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="the TPU compiler (libtpu) is not installed")
def test_a_tpu_slice_without_a_tpu(tmp_path):
    document, printed = planned(tmp_path / "plan.json", "--topology=v5e:2x2", "--config.model.dtype=bfloat16")
    assert document["fits"] is True and document["devices"] == 4
    assert document["memory"]["trained_parameters"] == TRAINED
    assert 0 < document["memory"]["total"] < 16e9
    assert document["flops"]["ratio_to_minimum_and_recomputed"] == pytest.approx(1, abs=0.1)
    assert document["loops_of_unknown_length"] == []
    times = document["roofline"]
    assert times["compute"] == pytest.approx(document["flops"]["per_device_bfloat16"] / 197e12)
    assert times["step"] == max(times["compute"], times["memory"], times["interconnect"])
    assert "fits in the 16.00 GB of a TPU v5e" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/semclip.py", "--topology=v5e:5x5"], "--topology: 'v5e:5x5' is not known"),
        (
            ["--config=configs/semclip.py", "--topology=cpu:7"],
            "config.streams.train.batch_size: 64 cannot be divided by the 7 data shards",
        ),
        (
            ["--config=configs/semclip.py:triplets", "--topology=cpu:2", "--config.model.init=absent.pt"],
            "config.model.init: 'absent.pt' does not exist; a plan needs shapes only: --arch=ViT-B-32",
        ),
        (["--config=configs/semclip.py", "--topology=cpu:2", "--arch=ViT-Q"], "'ViT-Q' is not known; expected one of"),
        (["--config=configs/semclip.py", "--topology=cpu:2", "--config.mesh.model=3"], "does not make 2 devices"),
    ],
)
def test_errors_are_one_line(arguments, message):
    done = plan(*arguments)
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
