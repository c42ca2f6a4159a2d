// Linear layer on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/linear/linear.h"

namespace memring {

struct LinearKernels {
  decltype(&Linear::forward) forward;
  decltype(&Linear::input_gradient) input_gradient;
  decltype(&Linear::weight_gradient) weight_gradient;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const LinearKernels* const linear_cuda;

}  // namespace memring
