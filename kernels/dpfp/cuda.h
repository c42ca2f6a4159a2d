// Dpfp on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/dpfp/dpfp.h"

namespace memring {

struct DpfpKernels {
  decltype(&Dpfp::forward) forward;
  decltype(&Dpfp::backward) backward;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const DpfpKernels* const dpfp_cuda;

}  // namespace memring
