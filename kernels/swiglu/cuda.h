// SwiGlu on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/swiglu/swiglu.h"

namespace memring {

struct SwiGluKernels {
  decltype(&SwiGlu::forward) forward;
  decltype(&SwiGlu::backward) backward;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const SwiGluKernels* const swiglu_cuda;

}  // namespace memring
