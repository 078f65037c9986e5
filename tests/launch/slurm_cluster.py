"""A Slurm cluster of one node on the loopback, from Debian's packages; used by test_slurm_cluster.py.

    python -m tests.launch.slurm_cluster

starts one, says how to use it from another terminal, and stops it upon Ctrl-C. It needs root and
`apt-get install slurmctld slurmd slurm-client munge`.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.free_ports import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel", "squeue", "sinfo")
# Jobs may return to the queue at once: by default Slurm lets requeued ones wait two minutes (cred_expire).
CONFIGURATION = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=1
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def why_not() -> str | None:
    """What is missing for a cluster of one's own, if anything."""
    path = os.environ["PATH"] + ":/usr/sbin"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "only root may start Slurm's daemons"
    if (os.cpu_count() or 1) < 2:
        return "two tasks need two CPUs"
    return None


def wait_until_idle(environment: dict[str, str], seconds: float = 120) -> None:
    """Returns when the node takes jobs.

    Raises:
      TimeoutError: it doesn't.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True)
        if state.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    raise TimeoutError(f"no idle node: {state.stdout}{state.stderr}")


@contextlib.contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Starts munged, slurmctld and slurmd; gives the environment for Slurm's commands; stops what it started."""
    directory = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path may have 107 characters
    for name in ("state", "spool"):
        (directory / name).mkdir()
    key = directory / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller_port, daemon_port = free_ports(2)
    host = socket.gethostname().partition(".")[0]
    configuration = directory / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(host=host, directory=directory, controller_port=controller_port, daemon_port=daemon_port)
    )
    files = {"key-file": key} | {
        name: directory / f"munge.{name.partition('-')[0]}" for name in ("socket", "pid-file", "log-file", "seed-file")
    }
    daemons = (
        ["munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in files.items())],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment |= {"SLURM_CONF": str(configuration), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    started = []
    try:
        with open(directory / "daemons.log", "wb") as log:
            for daemon in daemons:
                started.append(subprocess.Popen(daemon, env=environment, stdout=log, stderr=log))
                while daemon[0] == "munged" and not files["socket"].exists() and started[0].poll() is None:
                    time.sleep(0.05)
        wait_until_idle(environment)
        try:
            yield environment
        finally:
            # Jobs outlive the daemons.
            subprocess.run(["scancel", "--user=root"], env=environment)
            wait_until_idle(environment)
    finally:
        for daemon in reversed(started):
            daemon.terminate()
            try:
                daemon.wait(timeout=30)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    if reason := why_not():
        raise SystemExit(reason)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with cluster() as variables, contextlib.suppress(KeyboardInterrupt):
        print(f"export SLURM_CONF={variables['SLURM_CONF']}\nsbatch --ntasks=2 launch/slurm.sh --config=...")
        print("Ctrl-C stops the cluster.")
        while True:
            time.sleep(3600)
