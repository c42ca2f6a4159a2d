// Elementwise passes on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/elementwise/elementwise.h"

namespace memring {

struct ElementwiseKernels {
  decltype(&Elementwise::copy) copy;
  decltype(&Elementwise::fill) fill;
  decltype(&Elementwise::scale) scale;
  decltype(&Elementwise::add) add;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const ElementwiseKernels* const elementwise_cuda;

}  // namespace memring
