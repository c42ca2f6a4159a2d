// Loss sum on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/loss_sum/loss_sum.h"

namespace memring {

struct LossSumKernels {
  decltype(&LossSum::add) add;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const LossSumKernels* const loss_sum_cuda;

}  // namespace memring
