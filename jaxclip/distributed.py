"""Joins this process to the others of a run on several hosts, where there are others.

`initialise()` is the first thing that a command does with JAX. There are other processes where the environment says so:

- `JAX_COORDINATOR_ADDRESS`, `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` are set (launch/local.py); the last two may be
  missing where one of the following tells them
- the Slurm step has more than one task (launch/slurm.sh, srun)
- Open MPI's world has more than one rank (mpirun)
- a TPU slice has several hosts, or there are several slices: GKE's variables (launch/gke_jobset.yaml)
- it is a Cloud TPU VM, of which the metadata server knows the others, if any (launch/tpu_pod.sh)

Otherwise, as on a laptop or in the shell of `sbatch` and `salloc`, it does nothing. Addresses and numbers are found by
`jax.distributed.initialize` itself.
"""

import contextlib
import os
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping, MutableMapping

import jax
from jax._src.distributed import global_state  # for messages: no public name gives the coordinator's address
from tqdm import tqdm

from jaxclip.console import user_errors

TIMEOUT = 300  # seconds in which all processes must have come; JAXCLIP_INITIALIZATION_TIMEOUT changes it
_VIRTUAL_DEVICES = "xla_force_host_platform_device_count"
_CONCURRENCY = "xla_cpu_enable_concurrency_optimized_scheduler"
EXPLICIT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


class ClusterError(Exception):
    """The processes of a run cannot find each other."""


def _number(environment: Mapping[str, str], name: str) -> int:
    """A count from the environment; 0 where it isn't set.

    Raises:
      ClusterError: not a whole number.
    """
    value = environment.get(name, "0")
    try:
        return int(value)
    except ValueError:
        raise ClusterError(f"{name}: expected a whole number, found {value!r}") from None


def _on_tpu_vm(environment: Mapping[str, str]) -> bool:
    """Whether this is a Cloud TPU VM outside GKE. To be called after `import jax`, which tells chips from no chips."""
    if "TPU_ML_PLATFORM" not in environment or "TPU_SKIP_MDS_QUERY" in environment:
        return False
    host = environment.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{host}/computeMetadata/v1/instance/attributes/agent-worker-number",
        headers={"Metadata-Flavor": "Google"},
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def find_cluster(environment: Mapping[str, str]) -> str | None:
    """What says that there are other processes, in words; None where nothing does.

    Raises:
      ClusterError: a count that is not a number.
    """
    given = [name for name in EXPLICIT if name in environment]
    if given:
        return ", ".join(given)
    # In the shell of `salloc` SLURM_NTASKS is that of the whole allocation, while its step has one task.
    tasks = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    if "SLURM_STEP_NODELIST" in environment and _number(environment, tasks) > 1:
        return f"Slurm step of {environment[tasks]} tasks"
    if _number(environment, "OMPI_COMM_WORLD_SIZE") > 1:
        return f"Open MPI world of {environment['OMPI_COMM_WORLD_SIZE']}"
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or ""
    if "," in hosts or _number(environment, "MEGASCALE_NUM_SLICES") > 1:
        return "TPU slices on GKE"
    return "Cloud TPU VM" if _on_tpu_vm(environment) else None


def read_settings(environment: Mapping[str, str]) -> dict:
    """Arguments of `jax.distributed.initialize` that JAX doesn't take from the environment itself.

    Raises:
      ClusterError: incomplete or impossible numbers.
    """
    settings = {
        argument: _number(environment, name)
        for name, argument in (("JAX_NUM_PROCESSES", "num_processes"), ("JAX_PROCESS_ID", "process_id"))
        if name in environment
    }
    if not settings:
        return {}  # the scheduler knows the numbers
    missing = [name for name in EXPLICIT if name not in environment]
    if missing:
        raise ClusterError(f"{', '.join(missing)} is not set; {', '.join(EXPLICIT)} are given together")
    if not 0 <= settings["process_id"] < settings["num_processes"]:
        raise ClusterError(
            f"JAX_PROCESS_ID: expected a number from 0 to JAX_NUM_PROCESSES - 1 = {settings['num_processes'] - 1}, "
            f"found {settings['process_id']}"
        )
    # All is given: a Slurm step around it would only hide devices.
    return settings | {"cluster_detection_method": "deactivate"}


def check_port(address: str) -> None:
    """Sees that a port of this host can be had, before jaxlib 0.10 crashes on one that is taken.

    Raises:
      ClusterError: it is taken, or `address` isn't HOST:PORT.
    """
    port = address.rpartition(":")[2]
    if not address.rpartition(":")[0] or not port.isdecimal():
        raise ClusterError(f"JAX_COORDINATOR_ADDRESS: expected HOST:PORT, found {address!r}")
    with socket.socket() as probe:
        # As the coordinator does: a port that a run has just left is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(port)))
        except (OSError, OverflowError) as error:
            raise ClusterError(
                f"JAX_COORDINATOR_ADDRESS: port {port} cannot be had on {socket.gethostname()}, where process 0 is "
                f"to listen ({error}); give another one to all processes"
            ) from None


def advice(environment: Mapping[str, str]) -> str:
    """Where the coordinator was looked for, and what to check."""
    proxies = sorted(name for name in environment if name.lower() in ("http_proxy", "https_proxy", "grpc_proxy"))
    return (
        f"The coordinator is process 0, at {global_state.coordinator_address or 'an unknown address'}. Check that "
        "every process was started (each prints a line), that this address is reachable from every host and its port "
        "is free there, and that all were given the same one."
        + (f" Unset {', '.join(proxies)}, or list the host in no_proxy." if proxies else "")
    )


@contextlib.contextmanager
def _bounded(seconds: int, environment: Mapping[str, str]) -> Iterator[None]:
    """Ends the process with a message if what is within takes longer.

    JAX's own time-out aborts the process from C++, with a stack trace and without the address.
    """

    def give_up() -> None:
        tqdm.write(
            f"Error: process {global_state.process_id} on {socket.gethostname()} waited {seconds} s for the other "
            f"processes. {advice(environment)}",
            file=sys.stderr,
        )
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def order_cpu_collectives(environment: MutableMapping[str, str]) -> None:
    """Has several CPU devices run a program's collectives one after another, unless XLA_FLAGS says otherwise.

    XLA may start independent ones at once; its CPU devices then take them up in different orders and wait for each
    other for ever (jaxlib 0.10: a bfloat16 step on 8 virtual devices split 4 × 2).
    """
    flags = environment.get("XLA_FLAGS", "")
    if _CONCURRENCY not in flags:
        environment["XLA_FLAGS"] = f"{flags} --{_CONCURRENCY}=false".strip()


def initialise(environment: MutableMapping[str, str] = os.environ) -> None:
    """Joins the other processes, if there are any, and prints a line a process. To be called before JAX is used.

    What is wrong with the environment, or a peer that doesn't come in time, ends the program with a message.
    """
    with user_errors(ClusterError):
        cluster = find_cluster(environment)
        processes_on_cpus = cluster is not None and environment.get("JAX_PLATFORMS") == "cpu"
        if processes_on_cpus or _VIRTUAL_DEVICES in environment.get("XLA_FLAGS", ""):
            order_cpu_collectives(environment)
        if cluster is None or jax.distributed.is_initialized():
            return
        timeout = _number(environment, "JAXCLIP_INITIALIZATION_TIMEOUT") or TIMEOUT
        settings = read_settings(environment)
        if settings.get("process_id") == 0:
            check_port(environment["JAX_COORDINATOR_ADDRESS"])
        with _bounded(timeout, environment):
            try:
                jax.distributed.initialize(initialization_timeout=timeout + 60, **settings)
            except (RuntimeError, ValueError) as error:
                raise ClusterError(f"{cluster}: {error}. {advice(environment)}") from error
            # Not before every process is there: the first use of devices waits for all.
            devices = f"{jax.local_device_count()} of {jax.device_count()} devices"
        kind = jax.local_devices()[0].device_kind
        tqdm.write(
            f"process {jax.process_index()} of {jax.process_count()} on {socket.gethostname()}: "
            f"{devices} ({kind}); {cluster}"
        )
        sys.stdout.flush()
