// RMSNorm on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/rmsnorm/rmsnorm.h"

namespace memring {

struct RmsNormKernels {
  decltype(&RmsNorm::forward) forward;
  decltype(&RmsNorm::backward) backward;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const RmsNormKernels* const rmsnorm_cuda;

}  // namespace memring
