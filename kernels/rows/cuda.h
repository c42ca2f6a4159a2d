// MoveRows on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/rows/rows.h"

namespace memring {

struct MoveRowsKernels {
  decltype(&MoveRows::run) run;
  decltype(&MoveRows::sum) sum;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const MoveRowsKernels* const rows_cuda;

}  // namespace memring
