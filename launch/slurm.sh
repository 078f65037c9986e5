#!/bin/bash
# Trains on a Slurm cluster: one process a GPU (or a few a node on CPUs), requeued when it is preempted or out of time.
#
#   sbatch --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=12 --time=24:00:00 \
#       launch/slurm.sh --config=configs/semclip.py --workdir=runs/semclip
#   sbatch --ntasks=2 --cpus-per-task=8 launch/slurm.sh --config=configs/semclip.py --workdir=runs/cpu
#
# Give sbatch its own options before the script, and after it those of `python -m jaxclip.main`. Submit from the root of
# the repository, on a file system that all nodes share; the log is jaxclip-JOB.log there, in which the lines of task 3
# begin with "3:". What a job is told by its environment (sbatch passes yours on):
#
#   PYTHON=.venv/bin/python     the Python to run
#   MODULE=jaxclip.main         the command; jaxclip.evaluate runs on several processes as well
#   CONTAINER_IMAGE=            an image for pyxis/enroot, e.g. nvcr.io#nvidia/jax:latest; the repository is mounted
#   CONTAINER_MOUNTS=           what else the container sees, e.g. /data:/data,/scratch:/scratch
#   JAX_COMPILATION_CACHE_DIR=runs/cache/programs     compiled programs, so that a restart need not compile again
#   RESTARTS=100                how often the job goes back into the queue
#   DRY_RUN=1                   prints what would be run (also without Slurm)
#
# 120 s before the time limit, and when the job is preempted (give partitions a GraceTime), every task gets SIGTERM,
# saves and exits with 143; the job is then put back into the queue under its number and goes on from the checkpoint.
# So it does where a peer is lost (75) or a task was killed (137, by the kernel for want of memory or by hand). Any other
# failure ends the job. `scancel JOB` ends it for good; `scancel --signal=TERM JOB` saves and requeues.
#
# All GPUs of a node must be visible to all its tasks, of which each takes the one of its local number: ask for them
# with --gpus-per-node or --gres, not with --gpus-per-task. With one task a node, that task takes them all.
#
#SBATCH --job-name=jaxclip
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
set -euo pipefail

if [[ ${1:---help} == --help || (-z ${SLURM_JOB_ID:-} && -z ${DRY_RUN:-}) ]]; then
    sed -n '2,/^#SBATCH/{/^#SBATCH/d; s/^# \{0,1\}//p}' "$0"
    [[ ${1:-} == --help ]]
    exit
fi

AGAIN=" 143 75 137 " # jaxclip/ending.py: stopped by SIGTERM and all saved; a peer is lost; 137: SIGKILL

python=${PYTHON:-.venv/bin/python}
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/runs/cache/programs}
export PYTHONUNBUFFERED=1
if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then
    export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # since Slurm 22.05 srun no longer takes it over from sbatch
fi

gpus=${SLURM_GPUS_ON_NODE:-0}
if ((gpus > 0)); then
    XLA_FLAGS="$(sed 's/#.*//' launch/xla_flags/gpu.txt | xargs) ${XLA_FLAGS:-}"
    export XLA_FLAGS
    if ((${SLURM_NTASKS_PER_NODE:-0} == 1 && gpus > 1)); then
        JAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((gpus - 1))) # without it JAX takes one GPU a task
        export JAX_LOCAL_DEVICE_IDS
    fi
fi

# One task that fails ends the others: they would wait for it.
launch=(srun --kill-on-bad-exit=1 --label)
if [[ -n ${CONTAINER_IMAGE:-} ]]; then
    launch+=(--container-image="$CONTAINER_IMAGE" --container-workdir="$PWD"
        --container-mounts="$PWD:$PWD${CONTAINER_MOUNTS:+,$CONTAINER_MOUNTS}")
fi
command=("${launch[@]}" "$python" -m "${MODULE:-jaxclip.main}" "$@")

printf '%q ' "${command[@]}"
echo
if [[ -n ${DRY_RUN:-} ]]; then
    exit 0
fi
echo "Job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, start $((${SLURM_RESTART_COUNT:-0} + 1)), $(date --iso-8601=seconds)"

code=0
"${command[@]}" || code=$?
if [[ $AGAIN == *" $code "* ]] && ((${SLURM_RESTART_COUNT:-0} < ${RESTARTS:-100})); then
    echo "Exit code $code: job $SLURM_JOB_ID goes back into the queue."
    scontrol requeue "$SLURM_JOB_ID"
elif [[ $AGAIN == *" $code "* ]]; then
    echo "Exit code $code: given up after ${RESTARTS:-100} restarts." >&2
fi
exit "$code"
