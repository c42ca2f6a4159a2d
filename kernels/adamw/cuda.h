// AdamW on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/adamw/adamw.h"

namespace memring {

struct AdamWKernels {
  decltype(&AdamW::step) step;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const AdamWKernels* const adamw_cuda;

}  // namespace memring
