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
# Exit: 0 done, 1 the build failed or the bundle is too large, 2 missing packages or unusable arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly wanted=(memring ops_cuda_tests ops_gpu_tests device_tests device_speed) most_bytes=$((60 * 1000 * 1000))
# Of the machine: as its loader finds them.
readonly system='^(linux-vdso|ld-linux.*|lib(c|m|dl|pthread|rt|util|resolv))\.so'

architectures='' programs='' file=''
while (($#)); do
  case $1 in
    --architectures) architectures=${2:?launch/bundle.sh: --architectures needs a list} && shift ;;
    --programs) programs=${2:?launch/bundle.sh: --programs needs a folder} && shift ;;
    -*) sed -n '/^# Usage/,/^# Exit/s/^# //p' "${BASH_SOURCE[0]}" >&2 && exit 2 ;;
    *) file=$1 ;;
  esac
  shift
done
file=${file:-build/memring-bundle.tar.xz}
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
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
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
here=$(cd "${BASH_SOURCE[0]%env.sh}." && pwd)
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

mkdir -p "$(dirname "$file")"
tar -C "$folder" -c memring-bundle | xz -2 --threads=0 > "$file.part"
bytes=$(stat --format=%s "$file.part")
if ((bytes > most_bytes)); then
  rm "$file.part"
  echo "launch: the bundle would be $((bytes / 1000000)) MB packed, and $((most_bytes / 1000000)) are allowed; it holds:" >&2
  du -a "$bundle" | sort -nr | head -n 12 >&2
  exit 1
fi
mv "$file.part" "$file"
printf '%s: %d.%d MB packed, %s unpacked, programs: %s\n' "$file" $((bytes / 1000000)) $((bytes / 100000 % 10)) \
  "$(du -sh "$bundle" | cut -f1)" "$(cd "$bundle/bin" && echo *)"
