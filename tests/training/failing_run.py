"""A small training run of one or several processes, for tests that kill, stop and break it.


python failing_run.py WORKDIR PROCESS PROCESSES PORT [KEY=VALUE …]

steps=12 every=3     how many, and how often they are saved
pause=0.2            seconds a step takes at least
raise_in=1 hang_in=1 the process whose data raises, or comes no more, at step 4
differs=1            the process that starts from other weights
parameters=sharded   over the data shards, as config.mesh.parameters
records=FILE         where each process appends the record numbers of its part of each batch (FILE.PROCESS)
peer_timeout=… hang_timeout=…
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import jax
import numpy as np
import sharded_run
import tiny_runs

from jaxclip import console
from jaxclip.config import FailureSettings, MeshSettings
from jaxclip.data.pipeline import BatchStream, batch_order, make_batches
from jaxclip.data.tokenizer import train_tokenizer
from jaxclip.digests import digest_of_params
from jaxclip.ending import told
from jaxclip.training.agreement import AgreementError, check_equal
from jaxclip.training.checkpointing import CheckpointError, Checkpoints, load_trained
from jaxclip.training.guard import BadSteps, TrainingError
from jaxclip.training.lock import WorkdirError, locked
from jaxclip.training.loop import Cadence, train
from jaxclip.training.preemption import Preemption
from jaxclip.training.profiling import Profile
from jaxclip.training.program import StepProgram
from jaxclip.training.sharding import local_data_shards, make_mesh, shard_params
from jaxclip.training.watch import Watch

RECORDS, BATCH = 40, 8
CONFIG = sharded_run.CONFIG


class DataError(ValueError):
    """What the stream of `raise_in` raises."""


def make_stream(mesh, settings: dict) -> BatchStream:
    """The batches of this process, with the trouble that is asked for at the fourth one."""
    features = tiny_runs.make_features(CONFIG, RECORDS)
    features[:, 0] = np.arange(RECORDS) / 100  # so that a batch shows which records it has
    order = batch_order(RECORDS, BATCH, seed=3, process_index=jax.process_index(), process_count=jax.process_count())
    batches = make_batches(
        tiny_runs.make_records(RECORDS, words=(3, 3)),
        order,
        roles=tiny_runs.ROLES,
        tokenizer=train_tokenizer([], 514, 24),
        shards=local_data_shards(mesh),
        features={"image": lambda numbers: features[numbers]},
    )
    me = str(jax.process_index())

    def start(number: int):
        iterator = iter(batches)
        iterator.set_state({"batches": number})
        for step, batch in enumerate(iterator, number + 1):
            time.sleep(float(settings.get("pause", 0.2)))
            if step == 4 and settings.get("raise_in") == me:
                raise DataError("record 7 has no image")
            if step == 4 and settings.get("hang_in") == me:
                time.sleep(3600)
            if "records" in settings:
                numbers = np.rint(100 * batch["features"]["image"][:, 0]).astype(int).tolist()
                with Path(f"{settings['records']}.{me}").open("a") as file:
                    file.write(json.dumps({"step": step, "records": numbers}) + "\n")
            yield batch

    return BatchStream(start)


def main(workdir: Path, settings: dict) -> None:
    params = sharded_run.random_params()
    if settings.get("differs") == str(jax.process_index()):
        params["text/ln_final/scale"] = params["text/ln_final/scale"] + np.float32(1e-6)
    failure = FailureSettings(
        **{name: float(settings[name]) for name in ("peer_timeout", "hang_timeout") if name in settings}
    )
    steps = int(settings.get("steps", 12))
    with Watch(Preemption().install(), failure) as watch, locked(workdir):
        check_equal("the config", hashlib.sha256(str(steps).encode()).digest())
        check_equal("the model", digest_of_params(params))
        mesh = make_mesh(MeshSettings())
        over_data = settings.get("parameters") == "sharded"
        run = tiny_runs.make_run(CONFIG, params, sharded_run.TRAINABLE[:1], steps=100, mesh=mesh, over_data=over_data)
        checkpoints = Checkpoints(workdir / "checkpoints", "r1")
        train(
            program=StepProgram(run.step, mesh, BATCH, lambda batch: 0, parameters_over_data=over_data),
            state=run.state.replace(params=shard_params(mesh, run.state.params)),
            frozen=shard_params(mesh, run.frozen, over_data=over_data),
            streams={"train": make_stream(mesh, settings)},
            cadence=Cadence(steps, int(settings.get("every", 3)), validate_every=100, log_every=1),
            workdir=workdir,
            checkpoints=checkpoints,
            validate=None,
            watch=watch,
            bad_steps=BadSteps(0, None, lambda step: {}, None),
            profile=Profile(None, workdir / "profile"),
        )
        checkpoints.close()
        if jax.process_index() == 0:
            np.savez(workdir / "final.npz", **load_trained(workdir / "checkpoints"))


if __name__ == "__main__":
    console.quiet_libraries()
    if int(sys.argv[3]) > 1:
        jax.distributed.initialize(
            f"127.0.0.1:{sys.argv[4]}", int(sys.argv[3]), int(sys.argv[2]), cluster_detection_method="deactivate"
        )
    with told(AgreementError, CheckpointError, DataError, TrainingError, WorkdirError, OSError):
        main(Path(sys.argv[1]), dict(argument.split("=") for argument in sys.argv[5:]))
