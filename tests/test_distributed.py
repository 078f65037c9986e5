"""Who joins whom: found from the environments that launchers make, and real processes on the loopback."""

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import jax
import pytest

from jaxclip.distributed import (
    ClusterError,
    advice,
    check_port,
    find_cluster,
    initialise,
    order_cpu_collectives,
    read_settings,
)
from tests.free_ports import free_port

REPOSITORY = Path(__file__).resolve().parents[1]
SLURM_SHELL = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
SLURM_STEP = SLURM_SHELL | {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_STEP_NUM_TASKS": "8"}
EXPLICIT = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:1234", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
GKE = {"TPU_SKIP_MDS_QUERY": "true", "TPU_ML_PLATFORM": "JAX", "TPU_WORKER_ID": "0"}


@pytest.mark.parametrize(
    ("environment", "cluster"),
    [
        ({}, None),
        (SLURM_SHELL, None),  # the shell of sbatch, with the whole allocation's number of tasks
        (SLURM_STEP | {"SLURM_STEP_NUM_TASKS": "1"}, None),  # the interactive step of salloc
        (SLURM_STEP, "Slurm step of 8 tasks"),
        (SLURM_SHELL | {"SLURM_STEP_NODELIST": "node1"}, "Slurm step of 8 tasks"),
        (EXPLICIT, "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID"),
        (SLURM_STEP | {"JAX_COORDINATOR_ADDRESS": "node1:99"}, "JAX_COORDINATOR_ADDRESS"),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, None),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI world of 2"),
        (GKE | {"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        (GKE | {"TPU_WORKER_HOSTNAMES": "a-0.a,a-1.a"}, "TPU slices on GKE"),
        (GKE | {"TPU_WORKER_HOSTNAMES": "localhost", "MEGASCALE_NUM_SLICES": "2"}, "TPU slices on GKE"),
        ({"TPU_SKIP_MDS_QUERY": "1", "TPU_ML_PLATFORM": "JAX"}, None),
    ],
)
def test_cluster_is_found_only_where_there_is_one(environment, cluster):
    assert find_cluster(environment) == cluster


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (None, "--xla_cpu_enable_concurrency_optimized_scheduler=false"),
        ("--xla_a=1", "--xla_a=1 --xla_cpu_enable_concurrency_optimized_scheduler=false"),
        ("--xla_cpu_enable_concurrency_optimized_scheduler=true",) * 2,
    ],
)
def test_cpu_collectives_are_ordered_unless_told_otherwise(flags, expected):
    environment = {} if flags is None else {"XLA_FLAGS": flags}
    order_cpu_collectives(environment)
    assert environment == {"XLA_FLAGS": expected}


@pytest.mark.parametrize("flags", ["--xla_force_host_platform_device_count=8", ""])
def test_collectives_are_ordered_where_there_are_several_devices(flags):
    environment = {"XLA_FLAGS": flags}
    initialise(environment)
    assert ("concurrency_optimized_scheduler=false" in environment["XLA_FLAGS"]) == bool(flags)


@contextlib.contextmanager
def metadata_server(attributes: tuple[str, ...]):
    """Google's metadata server as it is documented: attributes by path, and a header against accidents."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            known = self.path in [f"/computeMetadata/v1/instance/attributes/{name}" for name in attributes]
            self.send_response(403 if self.headers["Metadata-Flavor"] != "Google" else 200 if known else 404)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(("attributes", "cluster"), [(("agent-worker-number",), "Cloud TPU VM"), ((), None)])
def test_tpu_vm_is_asked_of_the_metadata_server(attributes, cluster):
    with metadata_server(attributes) as address:
        assert find_cluster({"TPU_ML_PLATFORM": "JAX", "GCE_METADATA_IP": address}) == cluster


def test_numbers_of_the_environment():
    expected = {"num_processes": 4, "process_id": 3, "cluster_detection_method": "deactivate"}
    assert read_settings(EXPLICIT) == expected
    assert read_settings(SLURM_STEP | EXPLICIT) == expected
    assert read_settings({"JAX_COORDINATOR_ADDRESS": "node1:99"}) == {}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (EXPLICIT | {"JAX_PROCESS_ID": "4"}, "expected a number from 0 to JAX_NUM_PROCESSES - 1 = 3, found 4"),
        (EXPLICIT | {"JAX_PROCESS_ID": "first"}, "JAX_PROCESS_ID: expected a whole number, found 'first'"),
        ({"JAX_NUM_PROCESSES": "4"}, "JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID is not set"),
    ],
)
def test_impossible_numbers_are_named(environment, message):
    with pytest.raises(ClusterError, match=message):
        read_settings(environment)


def test_proxies_are_named():
    assert "Unset https_proxy" in advice({"https_proxy": "http://proxy:3128"})
    assert "Unset" not in advice({"no_proxy": "localhost"})


def test_nothing_is_done_on_a_laptop(capsys):
    initialise({})
    initialise(SLURM_SHELL)
    assert not jax.distributed.is_initialized()
    assert capsys.readouterr() == ("", "")


# Joins twice, adds a number of each process, and says what came out.
PROGRAM = """
from jaxclip import distributed
distributed.initialise()
distributed.initialise()
import jax, numpy
from jax.experimental import multihost_utils
print("sum", int(multihost_utils.process_allgather(numpy.array(jax.process_index() + 1)).sum()))
"""


def start(address: str, process: int, **environment: str) -> subprocess.Popen:
    """Process `process` of two, with two devices."""
    explicit = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(process)}
    devices = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=REPOSITORY,
        env=os.environ | explicit | devices | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def port() -> int:
    return free_port()


def test_two_processes_find_each_other_once(port):
    # A Slurm step around them that has other numbers must not matter.
    processes = [start(f"127.0.0.1:{port}", number, **SLURM_STEP) for number in (0, 1)]
    shown = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], shown
    for number, (output, _) in enumerate(shown):
        # Gloo, which connects the processes on CPUs, has a word to say as well.
        first, last = [line for line in output.splitlines() if not line.startswith("[Gloo]")]
        assert first.startswith(f"process {number} of 2 on {socket.gethostname()}: 2 of 4 devices (cpu)")
        assert last == "sum 3"


def test_missing_peer_ends_the_wait_with_advice(port):
    for number in (0, 1):
        process = start(f"127.0.0.1:{port}", number, JAXCLIP_INITIALIZATION_TIMEOUT="3")
        _, errors = process.communicate()
        assert process.returncode == 1, errors
        assert f"process {number} on" in errors
        assert f"waited 3 s for the other processes. The coordinator is process 0, at 127.0.0.1:{port}" in errors
        assert "Traceback" not in errors and "stack trace" not in errors


def test_taken_port_is_named():
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        process = start(f"127.0.0.1:{port}", 0)
        _, errors = process.communicate()
    assert process.returncode == 1, errors
    assert errors.startswith(f"Error: JAX_COORDINATOR_ADDRESS: port {port} cannot be had on {socket.gethostname()}")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", ":80", "127.0.0.1:http"])
def test_address_needs_host_and_port(address):
    with pytest.raises(ClusterError, match="expected HOST:PORT"):
        check_port(address)
