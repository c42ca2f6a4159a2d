// Queries, keys and values on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/projections/projections.h"

namespace memring {

struct ProjectionsKernels {
  decltype(&Projections::forward) forward;
  decltype(&Projections::backward) backward;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const ProjectionsKernels* const projections_cuda;

}  // namespace memring
