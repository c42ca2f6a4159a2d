// What a launch that fails says. (In a file of its own: compilers of device code do not take fmt.) Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/grid.h"

namespace memring {

/// Throws Error(Internal): the kernel that line `line` of `file` launches did not start, and why.
[[noreturn]] void refuse_launch(const char* file, int line, const Grid&, const char* why);

}  // namespace memring
