// Rotation of one row's heads, built once per instruction set.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/loops.h"

namespace memring::MEMRING_ISA {
namespace {

void rotate(float* out, int64_t out_stride, const float* in, int64_t in_stride, const float* cos, const float* sin,
            float direction, int64_t heads, int64_t half) {
  for (int64_t h = 0; h < heads; ++h, out += out_stride, in += in_stride) {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const float low = in[i], high = in[i + half], c = cos[i], s = direction * sin[i];
      out[i] = low * c - high * s;
      out[i + half] = high * c + low * s;
    }
  }
}

}  // namespace

const RopeLoops rope_loops{rotate};

}  // namespace memring::MEMRING_ISA
