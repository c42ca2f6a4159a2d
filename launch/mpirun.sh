#!/usr/bin/env bash
# Starts COMMAND on RANKS ranks of this machine with Open MPI, in a way that lets the ranks save before they stop: mpirun
# kills its ranks about a second after a SIGTERM and loses their exit code, but it hands on SIGUSR1 and waits.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/mpirun.sh RANKS COMMAND...
# SIGTERM, SIGHUP, SIGUSR1 and the first SIGINT: every rank gets SIGUSR1 (memring saves and ends with 75). A second SIGINT
# kills the job: 130. Otherwise the exit code is the ranks' own.
# Threads: OMP_NUM_THREADS, if it is set, is left alone; otherwise each rank gets cores / RANKS.
set -euo pipefail

if (($# < 2)) || [[ ! $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: launch/mpirun.sh RANKS COMMAND..." >&2
  exit 2
fi
ranks=$1
shift
if ! command -v "$1" > /dev/null; then  # mpirun -q would not say so
  echo "launch: $1 is no program that can be started; build it first: launch/build.sh" >&2
  exit 2
fi

cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)  # those this process may use; hardware threads count
flags=(-n "$ranks" -q --use-hwthread-cpus --bind-to none)
if ((ranks > cores)); then
  flags+=(--oversubscribe)
fi
if [[ $(id -u) == 0 ]]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
threads=$((cores / ranks))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}

job='' signalled=0 interrupts=0
# shellcheck disable=SC2317  # called by the traps
on_signal() {
  [[ $job ]] || exit 143
  signalled=1
  if [[ $1 != INT ]] || ((++interrupts == 1)); then
    kill -USR1 "$job" 2> /dev/null || true
    return 0  # plain `return` would give the status of what the signal interrupted
  fi
  trap '' INT
  kill -TERM "$job" 2> /dev/null || true  # mpirun ends its ranks, by force after a second
  for ((i = 0; i < 50; ++i)); do
    kill -0 "$job" 2> /dev/null || exit 130
    sleep 0.1
  done
  kill -KILL -- "-$job" 2> /dev/null || true
  exit 130
}
for signal in TERM HUP USR1 INT; do
  # shellcheck disable=SC2064  # the name is meant to be filled in now
  trap "on_signal $signal" "$signal"
done

# A session of its own: a terminal's Ctrl-C then reaches this script alone, not mpirun and the ranks too.
setsid mpirun "${flags[@]}" "$@" < /dev/null &
job=$!

# A signal with a trap ends `wait` early; the job's own exit code comes from the last one.
code=0
while :; do
  signalled=0
  wait "$job" && code=0 || code=$?
  ((signalled)) || break
done
exit "$code"
