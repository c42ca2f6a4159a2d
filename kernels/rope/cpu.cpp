// Rotary position embedding: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/cpu.h"

#include "kernels/common/dispatch.h"
#include "kernels/rope/loops.h"

namespace memring::cpu {
namespace {

/// Calls rotate(by_head offset, by_row offset, table offset) for each row.
template <class Rotate>
void for_rows(const Queue& queue, RopeExtents e, const Rotate& rotate) {
  const int64_t head_dim = 2 * e.half;
  parallel_ranges(threads_for(queue, e.batch * e.heads * e.rows * head_dim), e.batch * e.rows,
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t i = begin; i < end; ++i) {
                      const int64_t b = i / e.rows, r = i % e.rows;
                      rotate((b * e.heads * e.rows + r) * head_dim, i * e.heads * head_dim, e.angles_of(b, r));
                    }
                  });
}

}  // namespace

void rope_forward(const Queue& queue, float* out, const float* in, const float* cos, const float* sin, RopeExtents e) {
  const RopeLoops& loops = MEMRING_LOOPS(queue, rope_loops);
  for_rows(queue, e, [&](int64_t by_head, int64_t by_row, int64_t table) {
    loops.rotate(out + by_head, e.rows * 2 * e.half, in + by_row, 2 * e.half, cos + table, sin + table, 1, e.heads,
                 e.half);
  });
}

void rope_backward(const Queue& queue, float* d_in, const float* d_out, const float* cos, const float* sin,
                   RopeExtents e) {
  const RopeLoops& loops = MEMRING_LOOPS(queue, rope_loops);
  for_rows(queue, e, [&](int64_t by_head, int64_t by_row, int64_t table) {
    loops.rotate(d_in + by_row, 2 * e.half, d_out + by_head, e.rows * 2 * e.half, cos + table, sin + table, -1, e.heads,
                 e.half);
  });
}

}  // namespace memring::cpu
