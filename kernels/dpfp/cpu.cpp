// Feature map: the fast path in fp32.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/dpfp/cpu.h"

#include <vector>

#include "kernels/common/dispatch.h"
#include "kernels/dpfp/loops.h"

namespace memring::cpu {
namespace {

/// body(row, scratch of 4 key_dim numbers) for each row.
template <class Body>
void for_rows(const Queue& queue, int64_t rows, int64_t key_dim, int64_t features, const Body& body) {
  parallel_ranges(threads_for(queue, rows * features), rows, [&](int64_t begin, int64_t end, int) {
    std::vector<float> u(static_cast<size_t>(4 * key_dim));
    for (int64_t r = begin; r < end; ++r) body(r, u.data());
  });
}

}  // namespace

void dpfp_forward(const Queue& queue, float* phi, const float* x, int64_t rows, int64_t key_dim, int64_t nu) {
  const DpfpLoops& loops = MEMRING_LOOPS(queue, dpfp_loops);
  const int64_t features = 2 * nu * key_dim;
  for_rows(queue, rows, key_dim, features,
           [&](int64_t r, float* u) { loops.forward(phi + r * features, x + r * key_dim, u, key_dim, nu); });
}

void dpfp_backward(const Queue& queue, float* dx, const float* d_phi, const float* x, int64_t rows, int64_t key_dim,
                   int64_t nu) {
  const DpfpLoops& loops = MEMRING_LOOPS(queue, dpfp_loops);
  const int64_t features = 2 * nu * key_dim;
  for_rows(queue, rows, key_dim, features, [&](int64_t r, float* u) {
    loops.backward(dx + r * key_dim, d_phi + r * features, x + r * key_dim, u, key_dim, nu);
  });
}

}  // namespace memring::cpu
