// Gated linear unit on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/gated_unit/gated_unit.h"

namespace memring {

struct GatedUnitKernels {
  decltype(&GatedUnit::products) products;
  decltype(&GatedUnit::forward) forward;
  decltype(&GatedUnit::backward) backward;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const GatedUnitKernels* const gated_unit_cuda;

}  // namespace memring
