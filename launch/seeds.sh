# shellcheck shell=bash disable=SC2034  # for the scripts that read it: they use what it sets
# Options of scripts that train recipes with several seeds; sourced by them. They set first, last, jobs and out before.
# SPDX-License-Identifier: Apache-2.0

# take_option "$@": takes --seeds FIRST-LAST (one number: that seed), --jobs N or --out DIR, and returns whether it did; then the
# script shifts two.
take_option() {
  local script
  script=launch/$(basename "$0")
  case $1 in
    --seeds)
      if [[ ! ${2:-} =~ ^([0-9]+)(-([0-9]+))?$ ]]; then
        echo "launch: --seeds ${2:-} is neither a number nor FIRST-LAST, for example $first-$last" >&2
        exit 2
      fi
      first=${BASH_REMATCH[1]} last=${BASH_REMATCH[3]:-${BASH_REMATCH[1]}}
      if ((first > last)); then
        echo "launch: --seeds $2 ends before it begins; write $last-$first" >&2
        exit 2
      fi
      ;;
    --jobs) jobs=${2:?$script: --jobs needs a number} ;;
    --out) out=${2:?$script: --out needs a folder} ;;
    *) return 1 ;;
  esac
}

# take_options "$@": for scripts that have no others.
take_options() {
  while (($#)); do
    if ! take_option "$@"; then
      echo "usage: launch/$(basename "$0") [--seeds FIRST-LAST] [--jobs N] [--out DIR]" >&2
      exit 2
    fi
    shift 2
  done
}
