#!/bin/bash
# Runs on every worker of a TPU slice, in the repository's root; launch/tpu_pod.sh and launch/gke_jobset.yaml call it.
#
#   bash launch/tpu_worker.sh install [BUCKET]    Python, the requirements and JAX for TPU in .venv; the bucket as runs/
#   bash launch/tpu_worker.sh run --config=configs/semclip.py --workdir=runs/semclip      or with $TRAIN_FLAGS instead
#   bash launch/tpu_worker.sh stop                SIGTERM to the run that goes on here; returns when it has saved
#
# `run` first stops what an earlier `run` left behind, since a TPU serves one process; then it takes the flags of
# launch/xla_flags/tpu.txt and becomes `python -m jaxclip.main`. It reads PYTHON (.venv/bin/python), MODULE
# (jaxclip.main), LIBTPU_INIT_ARGS (put after ours, so that yours count) and JAX_COMPILATION_CACHE_DIR
# (runs/cache/programs).
set -euo pipefail

PID_FILE=${TPU_WORKER_PID_FILE:-/tmp/jaxclip.pid}

install() {
    # The images of TPU VMs have Python 3.10; uv brings a newer one.
    if [[ ! -x .venv/bin/python ]]; then
        python3 -m pip install --quiet --user uv
        python3 -m uv venv --python 3.12 .venv
    fi
    python3 -m uv pip install --quiet --python .venv/bin/python -r requirements.txt 'jax[tpu]'
    if [[ -n ${1:-} ]] && ! mountpoint --quiet runs; then
        command -v gcsfuse >/dev/null || {
            echo "Error: no gcsfuse here: https://cloud.google.com/storage/docs/cloud-storage-fuse/install" >&2
            return 1
        }
        mkdir -p runs
        gcsfuse --implicit-dirs "$1" runs
    fi
}

# Whether it is still ours and not another program that got its number.
runs() {
    grep --quiet jaxclip "/proc/$1/cmdline" 2>/dev/null
}

stop() {
    local pid
    [[ -f $PID_FILE ]] || return 0
    pid=$(<"$PID_FILE")
    if runs "$pid" && kill -TERM "$pid"; then
        echo "waiting for process $pid of an earlier run to save and end"
        for ((second = 0; second < ${TPU_WORKER_GRACE:-120}; second++)); do
            runs "$pid" || break
            sleep 1
        done
        if runs "$pid"; then
            kill -KILL "$pid" || true
        fi
    fi
    rm -f "$PID_FILE"
}

run() {
    if (($# == 0)); then
        eval "set -- ${TRAIN_FLAGS:?no flags are given and TRAIN_FLAGS is not set}" # words as in a shell, with quotes
    fi
    stop
    LIBTPU_INIT_ARGS="$(sed 's/#.*//' launch/xla_flags/tpu.txt | xargs) ${LIBTPU_INIT_ARGS:-}"
    export LIBTPU_INIT_ARGS
    export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/runs/cache/programs}
    export PYTHONUNBUFFERED=1
    echo $$ >"$PID_FILE"
    exec "${PYTHON:-.venv/bin/python}" -m "${MODULE:-jaxclip.main}" "$@"
}

case ${1:-} in
install | stop | run) "$@" ;;
*)
    sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//p}' "$0"
    exit 2
    ;;
esac
