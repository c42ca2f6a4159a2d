#!/usr/bin/env bash
# Starts COMMAND on RANKS ranks of this machine with Open MPI, in a way that lets the ranks save before they stop: mpirun
# kills its ranks about a second after a SIGTERM and loses their exit code, so signals go to the ranks themselves.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/mpirun.sh RANKS COMMAND...
# SIGTERM, SIGHUP, SIGUSR2, SIGXCPU and the first SIGINT: every rank gets SIGTERM (memring saves and ends with 75; a job that
# had not begun ends with 75 too). SIGUSR1: every rank gets it. A second SIGINT kills the job: 130. Otherwise the exit code is
# the ranks' own. Under nohup SIGHUP does nothing.
# Output to a pipe whose reader goes away (`| head`, a tee that was ended) would be mpirun's end: the rest of it goes to
# launch-output-PID.log (or -errors-) in the current folder, and training goes on.
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

job='' signalled=0 interrupts=0 stopping=''

# shellcheck disable=SC2317  # what the traps call
# Hands SIGNAL to the ranks, as soon as there are any.
hand_on() {
  until pkill "-$1" -P "$job" || ! kill -0 "$job" 2> /dev/null; do
    sleep 0.1
  done
}
# shellcheck disable=SC2317
# Over and over: a rank that is just being started may miss it.
stop_ranks() {
  while kill -0 "$job" 2> /dev/null; do
    hand_on TERM
    sleep 0.5
  done
}

# shellcheck disable=SC2317  # called by the traps
on_signal() {
  [[ $job ]] || exit 75
  signalled=1
  if [[ $1 == USR1 ]]; then
    hand_on USR1
  elif [[ $1 != INT ]] || ((++interrupts == 1)); then
    [[ $stopping ]] || { stop_ranks & stopping=$!; }
  else
    trap '' INT
    kill -TERM "$job" 2> /dev/null || true  # mpirun ends its ranks, by force after a second
    for ((i = 0; i < 50; ++i)); do
      kill -0 "$job" 2> /dev/null || exit 130
      sleep 0.1
    done
    kill -KILL -- "-$job" 2> /dev/null || true
    exit 130
  fi
}
for signal in TERM HUP USR1 USR2 XCPU INT; do
  # shellcheck disable=SC2064  # the name is meant to be filled in now
  trap "on_signal $signal" "$signal"
done

# shellcheck disable=SC2317  # started below
# Copies its input to DESCRIPTOR, line by line, and to FILE once that takes no more.
relay() {
  local to file=$2 line
  exec {to}>&"$1"
  trap '' PIPE TERM HUP USR1 USR2 XCPU INT
  while IFS= read -r line || [[ $line ]]; do
    if [[ $to ]] && ! { printf '%s\n' "$line" >&"$to"; } 2> /dev/null; then
      to=''
    fi
    [[ $to ]] || printf '%s\n' "$line" >> "$file" || true
  done
}
relays=()
# Files and terminals mpirun writes to itself: they do not vanish, or not without a SIGHUP.
if [[ -p /dev/fd/1 || -S /dev/fd/1 ]]; then
  exec {out}> >(relay 1 "launch-output-$$.log")
  relays+=($!)
else
  exec {out}>&1
fi
if [[ -p /dev/fd/2 || -S /dev/fd/2 ]]; then
  exec {errors}> >(relay 2 "launch-errors-$$.log")
  relays+=($!)
else
  exec {errors}>&2
fi

# A session of its own: a terminal's Ctrl-C then reaches this script alone, not mpirun and the ranks too.
setsid mpirun "${flags[@]}" "$@" < /dev/null >&"$out" 2>&"$errors" {out}>&- {errors}>&- &
job=$!
exec {out}>&- {errors}>&-

# A signal with a trap ends `wait` early; the job's own exit code comes from the last one.
code=0
while :; do
  signalled=0
  wait "$job" && code=0 || code=$?
  ((signalled)) || break
done
for relay in "${relays[@]}"; do
  wait "$relay" || true
done
if [[ $stopping ]]; then
  kill "$stopping" 2> /dev/null || true
  ((code == 128 + 15)) && code=75  # a rank that had not come so far as to listen
fi
((code == 128 + 10)) && code=75
exit "$code"
