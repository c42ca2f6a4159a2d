// Cross entropy on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cross_entropy/cross_entropy.h"

namespace memring {

struct CrossEntropyKernels {
  decltype(&CrossEntropy::forward) forward;
  decltype(&CrossEntropy::forward_backward) forward_backward;
  decltype(&CrossEntropy::distil) distil;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const CrossEntropyKernels* const cross_entropy_cuda;

}  // namespace memring
