// Heads on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/heads/heads.h"

namespace memring {

struct HeadsKernels {
  decltype(&Heads::split) split;
  decltype(&Heads::merge) merge;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const HeadsKernels* const heads_cuda;

}  // namespace memring
