// Attention on a device: which of its kernels.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/cuda.h"

#include <algorithm>

#include "kernels/attention/mma.h"
#include "kernels/attention/simple.h"

namespace memring {
namespace {

bool at_16_bytes(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

/// What products of a warp's matrices take: bf16, a head size of a multiple of 8 up to 128, and rows and tables at
/// multiples of 16 bytes, which are copied 16 bytes at a time.
bool fits_mma(ConstView<> q, const RowTable& rows, std::span<const KeySpan> spans) {
  if (q.dtype() != DType::BF16 || q.dim(3) % 8 != 0 || q.dim(3) > 128) return false;
  if (!at_16_bytes(q.data()) || !at_16_bytes(rows.device().data())) return false;
  return std::all_of(spans.begin(), spans.end(), [](const KeySpan& span) {
    return at_16_bytes(span.k.data()) && at_16_bytes(span.v.data()) && at_16_bytes(span.rows.device().data());
  });
}

void forward_part(Queue& queue, View<> o, View<> lse, Write write, ConstView<> q, const RowTable& rows,
                  std::span<const KeySpan> spans) {
  (fits_mma(q, rows, spans) ? mma_attention::forward_part : simple_attention::forward_part)(queue, o, lse, write, q,
                                                                                            rows, spans);
}

void backward_part(Queue& queue, View<> dq, Write write, ConstView<> d_o, ConstView<> o, ConstView<> lse, ConstView<> q,
                   const RowTable& rows, std::span<const KeySpan> spans) {
  const bool mma = fits_mma(q, rows, spans) && at_16_bytes(d_o.data());
  (mma ? mma_attention::backward_part : simple_attention::backward_part)(queue, dq, write, d_o, o, lse, q, rows, spans);
}

const AttentionKernels kernels{forward_part, backward_part};

}  // namespace

const AttentionKernels* const attention_cuda = &kernels;

}  // namespace memring
