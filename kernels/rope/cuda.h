// Rope on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/rope/rope.h"

namespace memring {

struct RopeKernels {
  decltype(&Rope::table) table;
  decltype(&Rope::forward) forward;
  decltype(&Rope::backward) backward;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const RopeKernels* const rope_cuda;

}  // namespace memring
