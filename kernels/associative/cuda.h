// Associative memory on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/associative/associative.h"

namespace memring {

struct AssociativeKernels {
  decltype(&Associative::read) read;
  decltype(&Associative::read_backward) read_backward;
  decltype(&Associative::write) write;
  decltype(&Associative::write_backward) write_backward;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const AssociativeKernels* const associative_cuda;

}  // namespace memring
