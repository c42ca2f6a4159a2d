# Writes OUT, a C++ file that gives memring::sources(): eight hexadecimal digits over the names and contents of the
# program's own source files below ROOT. Two programs that differ in one are told apart, whatever their version numbers.
# Usage: cmake -DROOT=... -DOUT=... -P SourceDigest.cmake
# SPDX-License-Identifier: Apache-2.0
file(GLOB_RECURSE files RELATIVE ${ROOT} LIST_DIRECTORIES false ${ROOT}/src/* ${ROOT}/dist/* ${ROOT}/kernels/*)
list(FILTER files INCLUDE REGEX "\\.(cpp|cu|h)$")
list(SORT files)
set(all "")
foreach(file ${files})
  file(SHA256 ${ROOT}/${file} digest)
  string(APPEND all "${file} ${digest}\n")
endforeach()
string(SHA256 digest "${all}")
string(SUBSTRING ${digest} 0 8 digest)
file(CONFIGURE OUTPUT ${OUT} CONTENT [[
// Written by cmake/SourceDigest.cmake.
#include "base/version.h"

namespace memring {

const char* sources() { return "@digest@"; }

}  // namespace memring
]] @ONLY)
