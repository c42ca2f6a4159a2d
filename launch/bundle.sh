#!/usr/bin/env bash
# Packs what a machine lacks that has a GPU, its driver, a CUDA Toolkit and nothing of memring's: programs, the libraries that they
# load, mpirun with its plugins, fixtures, configurations and launch/gpu_check.sh. Loader and C library stay that machine's own (those of the driver are
# bound to them), and so do CUDA's libraries: pack on the oldest system that it shall run on.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/bundle.sh [--architectures LIST | --programs FOLDER] [FILE]
#   --architectures LIST  what kernels are compiled for, for example 90a (default: all of cmake/MemringCuda.cmake)
#   --programs FOLDER     packs the programs of a build that is there, and builds none
#   FILE                  default build/memring-bundle.tar.xz
# On the other machine: tar xf FILE && memring-bundle/launch/gpu_check.sh; all else by memring-bundle/run, as `run memring doctor`.
# Exit: 0 done, 1 the build failed or the bundle is too large, 2 missing packages or unusable arguments, 74 it cannot be written.
set -euo pipefail
unset CDPATH  # with which cd prints where it went
readonly called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly wanted=(memring ops_cuda_tests ops_gpu_tests device_tests device_speed) most_bytes=$((60 * 1000 * 1000))
# Of the machine: as its loader finds them.
readonly system='^(linux-vdso|ld-linux.*|lib(c|m|dl|pthread|rt|util|resolv))\.so'

refuse() {
  echo "launch: $*" >&2
  exit 2
}
from_there() { (cd "$called_from" && realpath --canonicalize-missing -- "$1"); }

architectures='' programs='' file=''
while (($#)); do
  if [[ $1 =~ ^--(architectures|programs)$ && -z ${2:-} ]]; then
    refuse "$1 needs a value; launch/bundle.sh --help tells which"
  fi
  case $1 in
    --architectures) architectures=$2 && shift ;;
    --programs) programs=$(from_there "$2") && shift ;;
    -*) sed -n '/^# Usage/,/^# Exit/s/^# //p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
    *)
      [[ -z $file ]] || refuse "two files are named, $file and $1; name one"
      file=$(from_there "$1")
      ;;
  esac
  shift
done
if [[ -n $architectures && -n $programs ]]; then
  refuse "--architectures is for programs that are built, and --programs $programs builds none; leave out one"
fi
file=${file:-$PWD/build/memring-bundle.tar.xz}
[[ ! -d $file ]] || refuse "$file is a folder; name a file in it"
folder=$(mktemp -d) part=''
trap 'rm -rf "$folder" ${part:+"$part"}' EXIT
if ! mkdir -p "$(dirname "$file")" || ! part=$(mktemp "$file.XXXXXX"); then
  refuse "$(dirname "$file") cannot be written; name a file in a folder that can"
fi
launch/install_packages.sh bundle
if [[ -z $programs ]]; then
  programs=build/cuda/bin
  if [[ -n $architectures ]]; then
    cmake --preset cuda "-Dmemring_CUDA_ARCHITECTURES=$architectures" > /dev/null
  else
    cmake --preset cuda -Umemring_CUDA_ARCHITECTURES > /dev/null
  fi
  mapfile -t targets < <(ninja -C build/cuda -t targets all | sed -n 's|^bin/\([^:]*\): .*|\1|p' |
    grep --line-regexp --fixed-strings --file=<(printf '%s\n' "${wanted[@]}"))
  launch/build.sh --preset cuda "${targets[@]}"
  # So that no later build has fewer of them, which nothing would tell.
  [[ -z $architectures ]] || cmake --preset cuda -Umemring_CUDA_ARCHITECTURES > /dev/null
fi

bundle=$folder/memring-bundle
mkdir -p "$bundle"/{bin,lib,share,etc,launch,tests/speed}

for program in "${wanted[@]}"; do
  if [[ -x $programs/$program ]]; then
    strip -o "$bundle/bin/$program" "$programs/$program"
  else
    echo "launch: $programs has no $program: the bundle goes without"
  fi
done
if [[ -z $(ls "$bundle/bin") ]]; then
  echo "launch: $programs has none of ${wanted[*]}; name the bin folder of a build, or leave out --programs" >&2
  exit 2
fi

# Open MPI as Debian has it, in the folders where it looks below OPAL_PREFIX; PMIx is told its own one by one.
architecture=$(gcc -print-multiarch)
readonly from=/usr/lib/$architecture mpi=$bundle/lib/$architecture/openmpi/lib/openmpi3
cp -L /usr/bin/orterun "$bundle/bin/mpirun"
cp -L /usr/bin/orted "$bundle/bin/"
mkdir -p "${mpi%/*}"
cp -rL "$from/openmpi/lib/openmpi3" "$mpi"
cp -rL "$from/pmix2/lib/pmix" "$bundle/lib/"
cp -rL "$from/pmix2/share/pmix" /usr/share/openmpi "$bundle/share/"
cp -rL /etc/openmpi "$bundle/etc/"
opened=("$from"/libmca_common_{sm,ompio,monitoring}.so.?? "$from/libpmix.so.2")  # by their path, like plugins
cp -L "${opened[@]}" "$bundle/lib/"

# What all these name, under the name that they ask for.
for library in $(ldd "$bundle"/bin/* "${opened[@]}" | sed -nE 's|^\s(\S+) => (/\S+) .*|\1=\2|p' | sort --unique); do
  [[ ${library%%=*} =~ $system ]] || cp -L "${library#*=}" "$bundle/lib/${library%%=*}"
done

# Plugins for networks that the bundle holds no library of: each start would warn of them.
for plugin in "$mpi"/*.so "$bundle"/lib/pmix/*.so; do
  for library in $(objdump -p "$plugin" | sed -n 's/^ *NEEDED *//p'); do
    if [[ ! $library =~ $system && ! -e $bundle/lib/$library ]]; then
      rm "$plugin"
      break
    fi
  done
done

cp -r configs "$bundle/"
cp -r tests/golden "$bundle/tests/"
cp launch/gpu_check* "$bundle/launch/"
cp tests/speed/*.py "$bundle/tests/speed/"
getconf GNU_LIBC_VERSION > "$bundle/packed_on"
cat > "$bundle/env.sh" << 'END'
# shellcheck shell=bash
# Where the programs of this bundle find their libraries, and Open MPI its parts: for `run`.
if [ -z "${BASH_VERSION:-}" ]; then
  echo "env.sh: this is no bash, which alone tells where this file lies; nothing was set. Start bash first." >&2
  return 1
fi
here=$(CDPATH='' cd "${BASH_SOURCE[0]%env.sh}." && pwd)
export PATH=$here/bin:$PATH LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export OPAL_PREFIX=$here PMIX_PKGLIBDIR=$here/lib/pmix PMIX_PKGDATADIR=$here/share/pmix
export HOME=${HOME:-$here}  # PMIx crashes where neither it nor /etc/passwd tells
export OMPI_MCA_plm=isolated  # one machine, without ssh
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
unset here
END
cat > "$bundle/run" << 'END'
#!/bin/bash
# Runs a command with env.sh. Sourced, that would give this bundle's libraries to all other programs too: to PyTorch, for one.
# Usage: run COMMAND...
. "${BASH_SOURCE[0]%run}env.sh" && exec "$@"
END
chmod +x "$bundle/run"

if ! tar -C "$folder" -c memring-bundle | xz -2 --threads=0 > "$part"; then
  echo "launch: $file was not written (above), and what was there before stays; make room there and in ${TMPDIR:-/tmp}" >&2
  exit 74
fi
bytes=$(stat --format=%s "$part")
if ((bytes > most_bytes)); then
  echo "launch: the bundle would be $((bytes / 1000000)) MB packed, and $((most_bytes / 1000000)) are allowed; it holds:" >&2
  du -a "$bundle" | sort -nr | head -n 12 >&2
  exit 1
fi
chmod "$(printf '%o' $((0666 & ~$(umask))))" "$part"  # not the private one of a temporary file
mv "$part" "$file"
printf '%s: %d.%d MB packed, %s unpacked, programs: %s\n' "$file" $((bytes / 1000000)) $((bytes / 100000 % 10)) \
  "$(du -sh "$bundle" | cut -f1)" "$(cd "$bundle/bin" && echo *)"
