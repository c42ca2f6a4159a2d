#!/usr/bin/env bash
# From a clean clone to a trained and evaluated model: installs, builds, packs text, trains a small recurrent-memory model
# on two ranks that share each sequence, stops it half-way by a signal, resumes it, and evaluates it on held-out text.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/quickstart.sh [FILE-OR-FOLDER...]
# Without text it takes the C++ standard library headers that came with the compiler. All results stay under
# runs/quickstart; the same text and configuration find their finished run there again.
# Exit: 0 done, 2 missing packages or unusable arguments, 75 stopped by a signal (start again to go on), otherwise failed.
set -euo pipefail

here=$(dirname "${BASH_SOURCE[0]}")
case ${1:-} in
  -h | --help)
    sed -n '/^# Usage/,/^# Exit/s/^# //p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
inputs=()
for input in "$@"; do
  if [[ ! -r $input ]]; then
    echo "quickstart: $input is neither a readable file nor a folder" >&2
    exit 2
  fi
  inputs+=("$(realpath -- "$input")")
done
cd "$here/.."

readonly ranks=2 config=configs/quickstart.ini memring=build/cpu/bin/memring home=runs/quickstart

step() { printf '\n== %s\n' "$*"; }

# fail TEXT [LOG [CODE]]: the log's end, what failed, and out.
fail() {
  {
    [[ -z ${2:-} ]] || tail -n 20 "$2"
    echo "quickstart: $1${2:+; the whole log is $2}"
  } >&2
  exit "${3:-1}"
}

# Training runs in the background; whatever ends this script asks it to save first and waits for it.
child=''
# shellcheck disable=SC2317  # called by the traps
stop_child() {
  if [[ $child ]] && kill -TERM "$child" 2> /dev/null; then
    echo "quickstart: stopping; the run is saved first"
    while kill -0 "$child" 2> /dev/null; do
      wait "$child" || true
    done
  fi
  child=''
}
# shellcheck disable=SC2317
interrupted() {
  trap '' INT TERM HUP
  stop_child
  exit 75
}
trap interrupted INT TERM HUP
trap stop_child EXIT

# ---------------------------------------------------------------------------------------------------- install and build
begin=$SECONDS
launch/install_packages.sh
launch/build.sh memring
build_seconds=$((SECONDS - begin))

# ---------------------------------------------------------------------------------------------------------------- text
default_text() {
  # Where the compiler itself looks for <vector>.
  g++ -x c++ -E -v /dev/null 2>&1 | sed -n '/^#include </,/^End/s/^ //p' | while read -r folder; do
    if [[ -f $folder/vector ]]; then
      realpath -- "$folder"
      break
    fi
  done
}
if ((${#inputs[@]} == 0)); then
  mapfile -t inputs < <(default_text)
  ((${#inputs[@]} == 1)) || fail "g++ does not say where its standard headers are; name some text: launch/quickstart.sh FILE..."
fi

# Files as they were given; of folders the text files below, hidden ones left out, in one order whatever the language.
list_files() {
  local input
  for input in "${inputs[@]}"; do
    if [[ -d $input ]]; then
      find -L "$input" -mindepth 1 -name '.*' -prune -o -type f -size +0 -print0 | LC_ALL=C sort -z |
        xargs -0 -r grep --files-with-matches --null --binary-files=without-match -e '' -- || true
    else
      printf '%s\0' "$input"
    fi
  done
}
mapfile -d '' -t files < <(list_files)
((${#files[@]} > 0)) || fail "no text found in ${inputs[*]}" '' 2
digests=$(printf '%s\0' "${files[@]}" | xargs -0 sha256sum --) || fail "a file could not be read" '' 2

text_name=$(sha256sum <<< "$digests" | cut -c 1-12)
run_name=$({ echo "$text_name" && cat "$config"; } | sha256sum | cut -c 1-12)
data=$home/text-$text_name run=$home/run-$run_name
mkdir -p "$home"
exec 9> "$home/lock"
flock --nonblock 9 || fail "another quick start is at work in $home"

# pack PART FILE...: documents as links in a folder, numbered, so that any number of files keeps its order.
pack() {
  local part=$1 number=0 file
  shift
  mkdir "$data.new/$part"
  for file in "$@"; do
    number=$((number + 1))
    ln -s -- "$file" "$data.new/$part/$(printf '%07d' "$number")"
  done
  "$memring" pack "$data.new/$part" --out "$data.new/$part.h5" || fail "packing the text failed"
}

if [[ ! -d $data ]]; then
  step "packing ${#files[@]} files of text (${inputs[*]})"
  rm -rf "$data.new"
  mkdir "$data.new"
  trained=() held_out=()
  if ((${#files[@]} == 1)); then  # nothing to split by: the last tenth of the one file is held out
    size=$(stat -L -c %s -- "${files[0]}")
    head -c $((size - size / 10)) -- "${files[0]}" > "$data.new/first"
    tail -c $((size / 10)) -- "${files[0]}" > "$data.new/last"
    trained=("$PWD/$data.new/first") held_out=("$PWD/$data.new/last")
  else
    every=$((${#files[@]} < 10 ? ${#files[@]} : 10))
    for i in "${!files[@]}"; do
      if ((i % every == every - 1)); then held_out+=("${files[i]}"); else trained+=("${files[i]}"); fi
    done
  fi
  pack train "${trained[@]}"
  pack held_out "${held_out[@]}"
  rm -rf "$data.new"/{train,held_out,first,last}
  mv "$data.new" "$data"
fi

# ------------------------------------------------------------------------------------------- train, interrupt, resume
train=(launch/mpirun.sh "$ranks" "$memring" train "$config" "--run.dir=$run" "--data.path=$data/train.h5")
evaluate=(launch/mpirun.sh "$ranks" "$memring" eval "$run" "--data.path=$data/held_out.h5" --json "$run/eval.json")
log=$run/train.log
steps=$(sed -n 's/^steps *= *\([0-9]*\).*/\1/p' "$config")

start_training() {
  "${train[@]}" > >(exec tee -i -a "$log") 2>&1 &
  child=$!
}
# The exit code of training, into `code`.
await_training() {
  code=0
  wait "$child" || code=$?
  child=''
}
steps_done() {
  local line
  line=$(tail -n 20 "$run/metrics.jsonl" 2> /dev/null | grep '"kind":"step"' | tail -n 1 || true)
  if [[ $line =~ \"step\":([0-9]+) ]]; then echo "${BASH_REMATCH[1]}"; else echo 0; fi
}
steps_saved() {  # of the newest checkpoint; its folder is named after its step
  local manifests=("$run"/checkpoints/step-?????????/manifest.json) name
  name=$(basename "$(dirname "${manifests[-1]}")")
  if [[ -e ${manifests[-1]} ]]; then echo $((10#${name#step-})); else echo 0; fi
}

if [[ ! -e $run/eval.json ]]; then
  if (($(steps_saved) < steps / 2)); then
    rm -rf "$run"
    mkdir "$run"
    step "training $steps steps on $ranks ranks; half-way it is stopped by a signal"
    start_training
    while kill -0 "$child" 2> /dev/null && (($(steps_done) < steps / 2)); do
      sleep 0.2
    done
    kill -TERM "$child" 2> /dev/null || true
    await_training
    ((code == 75)) || fail "training ended with $code; stopped by a signal it ends with 75 (its output: $log)" '' $((code ? code : 1))
    (($(steps_saved) >= steps / 2)) || fail "the stopped run left no checkpoint in $run/checkpoints (its output: $log)"
    echo "stopped    with exit code 75, saved at step $(steps_saved)"
  fi

  step "the same command again: it resumes"
  begin_of_resume=$(wc -l < "$log" 2> /dev/null || echo 0)
  start_training
  await_training
  ((code == 0)) || fail "the resumed training ended with $code (its output: $log)" '' "$code"
  tail -n "+$((begin_of_resume + 1))" "$log" | grep -q '^resume' || fail "the second start did not resume (its output: $log)"

  step "evaluating on held-out text, with its memory and with its memory reset at every segment"
  "${evaluate[@]}" > "$run/eval.log" 2>&1 || fail "evaluation failed" "$run/eval.log"
else
  step "text and configuration have not changed: this is the finished run (to train anew: rm -r $run)"
fi

# -------------------------------------------------------------------------------------------------------------- report
python3 launch/quickstart_report.py "$run" --total "$((SECONDS - begin))" --build "$build_seconds"
cat << TEXT

Run directory   $run  (checkpoints, metrics.jsonl, config.ini, train.log, eval.json)

Try next
  # what its checkpoints hold, and whether they are intact
  $memring inspect $run
  # does the memory carry over more segments than it was trained on? Sequences four times as long:
  launch/mpirun.sh $ranks $memring eval $run --data.path=$data/held_out.h5 --data.length=2k --eval.sequences=32
  # the same training without a memory, each segment for itself:
  launch/mpirun.sh $ranks $memring train $config --run.dir=$home/no-memory --data.path=$data/train.h5 --memory.kind=none
TEXT
