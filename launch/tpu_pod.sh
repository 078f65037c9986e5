#!/bin/bash
# Trains on a Cloud TPU slice: asks for it, waits, installs, runs on all workers, and starts again after a preemption.
#
#   export TPU_NAME=semclip TPU_ZONE=us-west4-a TPU_TYPE=v5litepod-16 TPU_SPOT=1 TPU_BUCKET=my-bucket
#   bash launch/tpu_pod.sh train --config=configs/semclip.py --workdir=runs/semclip
#
# `train` does all of it and may be interrupted and given again: it goes on where things stand. Its parts:
#
#   create               asks for the slice (a queued resource)
#   wait                 returns when it is ACTIVE
#   install              copies the tracked files of this repository to all workers and makes .venv there
#   run FLAGS            python -m jaxclip.main FLAGS on all workers; the output also goes to jaxclip.log on each
#   logs                 follows the log of worker 0, or of TPU_WORKER=3
#   stop                 SIGTERM to the run: every worker saves and ends with 143
#   status               the state of the slice
#   delete               gives the slice back
#
# What it is told by the environment:
#
#   TPU_NAME, TPU_ZONE, TPU_TYPE     required; types: v5litepod-16, v5p-128, v6e-64, ... (by chips, v5p by cores)
#   TPU_PROJECT=                     otherwise gcloud's own
#   TPU_VERSION=                     the VM's image; otherwise that of the type
#   TPU_SPOT=                        1: cheaper, and may be taken away at any moment
#   TPU_BUCKET=                      a bucket that every worker mounts as runs/ (gcsfuse): all write one checkpoint,
#                                    which must outlive the slice. Make it with:
#                                    gcloud storage buckets create gs://my-bucket --location=us-west4 \
#                                        --uniform-bucket-level-access --enable-hierarchical-namespace
#   TPU_KEEP=                        1: `train` doesn't give the slice back when it has finished
#   TPU_RESTARTS=100                 how often `train` starts again
#   TPU_POLL=30                      seconds between questions about the state
#   MODULE=jaxclip.main              what is run; jaxclip.evaluate runs on several processes as well
#   LIBTPU_INIT_ARGS=                flags of the compiler, put after those of launch/xla_flags/tpu.txt
#   DRY_RUN=                         1: prints the commands instead of running them
#
# `train` starts again after exit codes 143 (stopped and saved), 75 (a peer is lost) and 137 (a process was killed), when
# the slice was taken away (it is deleted and asked for again), and when the connection broke; any other exit code is
# the run's own error and ends it. Run it where it stays up, e.g. in tmux on a small VM. The slice costs money until
# `delete`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# jaxclip/ending.py: stopped by SIGTERM, a peer is lost; 137: killed; 255 is ssh's own: the connection broke.
AGAIN=" 143 75 137 255 "
TPU_LOG=jaxclip.log

usage() {
    sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

die() {
    echo "Error: $*" >&2
    exit 1
}

# Runs a command, or prints it.
do_or_show() {
    if [[ -n ${DRY_RUN:-} ]]; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

tpus() {
    do_or_show gcloud compute tpus "$@" --zone="$TPU_ZONE" ${TPU_PROJECT:+--project="$TPU_PROJECT"}
}

# The image that goes with a type of TPU: https://cloud.google.com/tpu/docs/runtimes
image() {
    case $TPU_TYPE in
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    *) echo tpu-ubuntu2204-base ;;
    esac
}

# ACTIVE, WAITING_FOR_RESOURCES, SUSPENDED, ...; NOT_FOUND where nothing has that name, UNKNOWN where gcloud fails.
state() {
    local answer
    if [[ -n ${DRY_RUN:-} ]]; then
        echo ACTIVE
    elif answer=$(tpus queued-resources describe "$TPU_NAME" --format='value(state.state)' 2>&1); then
        echo "${answer##*$'\n'}"
    elif [[ $answer == *NOT_FOUND* || $answer == *"not found"* ]]; then
        echo NOT_FOUND
    else
        echo "$answer" >&2
        echo UNKNOWN
    fi
}

# Whether the slice and its machines are there: for a moment after a preemption only the machines know of it.
is_whole() {
    [[ $(state) == ACTIVE && $(tpus tpu-vm describe "$TPU_NAME" --format='value(state)') == READY ]]
}

create() {
    tpus queued-resources create "$TPU_NAME" --node-id="$TPU_NAME" --accelerator-type="$TPU_TYPE" \
        --runtime-version="${TPU_VERSION:-$(image)}" ${TPU_SPOT:+--spot}
}

delete() {
    tpus queued-resources delete "$TPU_NAME" --force --quiet
}

# Prints a state when it is another than the last one, and waits. Too many failures of gcloud in a row end the program.
before=
unknown=0
wait_on() {
    [[ $1 == "$before" ]] || echo "$TPU_NAME: $1"
    before=$1
    if [[ $1 == UNKNOWN ]] && ((++unknown == 10)); then
        die "gcloud has failed 10 times; its message is above"
    elif [[ $1 != UNKNOWN ]]; then
        unknown=0
    fi
    sleep "${TPU_POLL:-30}"
}

# Returns when the slice is ACTIVE; asks for it where there is none, and again where it was taken away.
obtain() {
    local now
    while true; do
        now=$(state)
        case $now in
        ACTIVE) return ;;
        NOT_FOUND) create ;;
        SUSPENDED | FAILED) delete ;;
        esac
        wait_on "$now"
    done
}

wait_until_active() {
    local now
    while true; do
        now=$(state)
        case $now in
        ACTIVE) return ;;
        NOT_FOUND | SUSPENDED | FAILED) die "$TPU_NAME is $now and will not become ACTIVE; delete and create it" ;;
        esac
        wait_on "$now"
    done
}

# Runs a command line in the repository's copy on all workers. Exits with the code of the first that fails.
on_workers() {
    tpus tpu-vm ssh "$TPU_NAME" --worker=all --command="cd jaxclip && $1"
}

# The steps are chained: within `train` the shell doesn't end at the first failure by itself.
install() {
    local archive
    archive=$(mktemp --suffix=.tar.gz) &&
        git ls-files -z | tar --create --gzip --null --files-from=- --file="$archive" &&
        tpus tpu-vm scp "$archive" "$TPU_NAME:jaxclip.tar.gz" --worker=all &&
        rm "$archive" &&
        tpus tpu-vm ssh "$TPU_NAME" --worker=all --command="mkdir -p jaxclip && tar -xzf jaxclip.tar.gz -C jaxclip" &&
        on_workers "bash launch/tpu_worker.sh install ${TPU_BUCKET:-}"
}

# Variables and flags are quoted for the shell of the worker.
run() {
    local flags name variables=
    printf -v flags ' %q' "$@"
    for name in MODULE LIBTPU_INIT_ARGS; do
        [[ -z ${!name:-} ]] || variables+="$name=${!name@Q} "
    done
    on_workers "set -o pipefail && ${variables}bash launch/tpu_worker.sh run$flags 2>&1 | tee -a $TPU_LOG"
}

logs() {
    tpus tpu-vm ssh "$TPU_NAME" --worker="${TPU_WORKER:-0}" --command="tail -n 100 -F jaxclip/$TPU_LOG"
}

train() {
    local code
    for ((restart = 0; restart <= ${TPU_RESTARTS:-100}; restart++)); do
        obtain
        code=0
        { install && run "$@"; } || code=$?
        if ((code == 0)); then
            [[ -n ${TPU_KEEP:-} ]] || delete
            return
        fi
        echo "$TPU_NAME: exit code $code"
        sleep "${TPU_POLL:-30}" # a preemption is known a little later
        if [[ $AGAIN != *" $code "* ]] && is_whole; then
            echo "The run has failed. The slice is kept for a look (logs), and costs money until: $0 delete" >&2
            return "$code"
        fi
    done
    die "given up after ${TPU_RESTARTS:-100} restarts"
}

command=${1:-}
case $command in
--help | help) usage && exit 0 ;;
create | wait | install | run | logs | stop | status | delete | train) shift ;;
*) usage >&2 && exit 2 ;;
esac
for name in TPU_NAME TPU_ZONE TPU_TYPE; do
    [[ -n ${!name:-} ]] || die "$name is not set; see: bash launch/tpu_pod.sh --help"
done
case $command in
run | train) (($#)) || die "$command: no flags for ${MODULE:-jaxclip.main}, e.g. --config=configs/semclip.py --workdir=runs/a" ;;
esac
case $command in
wait) wait_until_active ;;
status) state ;;
stop) on_workers "bash launch/tpu_worker.sh stop" ;;
*) "$command" "$@" ;;
esac
