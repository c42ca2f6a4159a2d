// Layout change between projections and attention: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/heads/cpu.h"

#include <algorithm>

#include "kernels/common/dispatch.h"

namespace memring::cpu {
namespace {

/// Calls copy(by_head offset, by_row offset) for each row of each head.
template <class Copy>
void for_pieces(const Queue& queue, HeadsExtents e, const Copy& copy) {
  parallel_ranges(threads_for(queue, e.batch * e.heads * e.rows * e.head_dim), e.batch * e.rows,
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t i = begin; i < end; ++i)
                      for (int64_t h = 0; h < e.heads; ++h)
                        copy(((i / e.rows * e.heads + h) * e.rows + i % e.rows) * e.head_dim,
                             (i * e.heads + h) * e.head_dim);
                  });
}

}  // namespace

void heads_split(const Queue& queue, float* out, const float* in, HeadsExtents e) {
  for_pieces(queue, e, [&](int64_t by_head, int64_t by_row) { std::copy_n(in + by_row, e.head_dim, out + by_head); });
}

void heads_merge(const Queue& queue, float* out, const float* in, HeadsExtents e) {
  for_pieces(queue, e, [&](int64_t by_head, int64_t by_row) { std::copy_n(in + by_head, e.head_dim, out + by_row); });
}

}  // namespace memring::cpu
