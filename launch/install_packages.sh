#!/usr/bin/env bash
# Installs the Debian 12 packages that memring needs and that are missing; says nothing when none is.
# SPDX-License-Identifier: Apache-2.0
#
# Usage: launch/install_packages.sh [tests|plots|lint|bundle]
# Exit: 0 all are there, 2 they cannot be installed from here (the command to run is printed), 74 apt-get failed.
set -euo pipefail

packages=(g++ cmake ninja-build ccache openmpi-bin libopenmpi-dev libhdf5-dev libdnnl-dev
  libboost-program-options-dev libboost-context-dev libfmt-dev nlohmann-json3-dev libxxhash-dev libgtest-dev procps python3)
case ${1:-} in
  tests) packages+=(python3-h5py hdf5-tools) ;;
  plots) packages+=(python3-matplotlib) ;;
  lint) packages+=(clang-format-14 clang-tidy-14 libomp-14-dev shellcheck) ;;  # clang-tidy reads omp.h of its own
  bundle) packages+=(binutils xz-utils) ;;
esac

if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
  {
    echo "launch: this is not a Debian system, so nothing can be installed from here."
    echo "  memring needs, by their Debian 12 names: ${packages[*]}"
    echo "  With their like installed: cmake --preset cpu && cmake --build --preset cpu && ctest --preset cpu"
  } >&2
  exit 2
fi

# dpkg-query fails when one name is unknown to it, and lists the others all the same.
installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "${packages[@]}" 2> /dev/null || true)
missing=()
for package in "${packages[@]}"; do
  grep --quiet --line-regexp --fixed-strings "installed $package" <<< "$installed" || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  exit 0
fi

if [[ $(id -u) == 0 ]]; then
  as_root=(env)
elif command -v sudo > /dev/null && sudo -n true 2> /dev/null; then
  as_root=(sudo -n)
else
  {
    echo "launch: ${#missing[@]} Debian packages are missing, and installing them takes root. Run as root, then start again:"
    echo "  apt-get update && apt-get install --yes --no-install-recommends ${missing[*]}"
  } >&2
  exit 2
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 "$@" < /dev/null > "$log" 2>&1
}
install() { apt install --yes --no-install-recommends "${missing[@]}"; }

echo "launch: installing ${#missing[@]} Debian packages: ${missing[*]}"
# Without package lists, or with old ones, the first try fails at once: then they are fetched.
if ! install && ! { apt update && install; }; then
  {
    tail -n 20 "$log"
    echo "launch: apt-get failed (above). Mend it, or install by hand: apt-get install ${missing[*]}"
  } >&2
  exit 74
fi
