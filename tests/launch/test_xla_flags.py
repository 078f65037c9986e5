"""The flag files: XLA and libtpu know every name. Both end the process at one that they don't know."""

import importlib.util
import os
import subprocess
import sys

import pytest
from launching import LAUNCH

COMPILE_FOR_TPU = """
import jax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
devices = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices
argument = jax.ShapeDtypeStruct((8, 128), "float32", sharding=SingleDeviceSharding(devices[0]))
jax.jit(lambda x: x + 1).lower(argument).compile()
"""


def flags(name: str) -> str:
    lines = (LAUNCH / "xla_flags" / name).read_text().splitlines()
    return " ".join(line for line in lines if not line.startswith("#"))


def run(program: str, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | variables
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)


def test_xla_knows_the_flags_for_gpus():
    program = "import jax; jax.numpy.ones(2).block_until_ready()"
    result = run(program, XLA_FLAGS=flags("gpu.txt"))
    assert result.returncode == 0, result.stderr
    result = run(program, XLA_FLAGS=f"{flags('gpu.txt')} --xla_gpu_enable_wishes=true")
    assert result.returncode != 0 and "--xla_gpu_enable_wishes" in result.stderr


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="no libtpu (pip install libtpu)")
def test_libtpu_knows_the_flags_for_tpus():
    # Without chips libtpu would ask Google's metadata server what it runs on.
    result = run(COMPILE_FOR_TPU, LIBTPU_INIT_ARGS=flags("tpu.txt"), TPU_SKIP_MDS_QUERY="1")
    assert result.returncode == 0, result.stderr
    unknown = f"{flags('tpu.txt')} --xla_tpu_enable_wishes=true"
    result = run(COMPILE_FOR_TPU, LIBTPU_INIT_ARGS=unknown, TPU_SKIP_MDS_QUERY="1")
    assert result.returncode != 0 and "xla_tpu_enable_wishes" in result.stderr


@pytest.mark.parametrize("name", ["gpu.txt", "tpu.txt"])
def test_every_flag_is_explained_with_its_source(name):
    blocks = (LAUNCH / "xla_flags" / name).read_text().strip().split("\n\n")
    for block in blocks[1:]:
        lines = block.splitlines()
        comments = [line for line in lines if line.startswith("# ")]
        assert any(line.startswith("# https://") for line in comments) and len(comments) >= 2, block
        assert all(line.startswith("--xla_") for line in lines if line not in comments), block
