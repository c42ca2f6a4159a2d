// Layout change between projections and attention: the fast path. Private to kernels/heads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/heads/operands.h"

namespace memring::cpu {

void heads_split(const Queue&, float* out, const float* in, HeadsExtents);
void heads_merge(const Queue&, float* out, const float* in, HeadsExtents);

}  // namespace memring::cpu
