// AdamW: the fast path. Private to kernels/adamw.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/adamw/adamw.h"

namespace memring::cpu {

void adamw_step(const Queue&, float* w, float* m, float* v, const float* grad, int64_t count, const AdamW::Settings&);

}  // namespace memring::cpu
