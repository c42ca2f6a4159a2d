// Squared norm on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/norm/norm.h"

namespace memring {

struct SquaredNormKernels {
  decltype(&SquaredNorm::add) add;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const SquaredNormKernels* const norm_cuda;

}  // namespace memring
