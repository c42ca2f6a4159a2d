// Output head and loss: their extents and scratch, as every backend takes them. Private to kernels/cross_entropy.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/arena.h"

namespace memring {

struct CrossEntropyExtents {
  int64_t rows, dim, vocab;
  double flops() const { return 2.0 * static_cast<double>(rows * dim * vocab); }  // of one product
};

/// Each chunk of rows reads the weights and adds to their gradient once, so it must be long enough for that to cost
/// little beside its products: with 256 rows a vocabulary of 32,000 takes 9 % more, and with the few that would stay in
/// the cache a whole training step takes twice as long. (Canonical blocks are no longer, and divide it.)
constexpr int64_t kCrossEntropyChunk = 512;
/// The same for bf16, which is a GPU's: an H100 (989 Tflop/s, 3.35 TB/s) then multiplies for as long as it moves the
/// gradient of the weights.
constexpr int64_t kCrossEntropyChunkOfBf16 = 1024;

/// Rows whose logits exist at a time, of so many: of the reference one.
inline int64_t cross_entropy_chunk(DType stored, int64_t rows) {
  return std::min(rows, stored == DType::F64    ? 1
                        : stored == DType::BF16 ? kCrossEntropyChunkOfBf16
                                                : kCrossEntropyChunk);
}

struct CrossEntropyLogits {
  View<> logits;    // [models * chunk, vocab], one model behind the other, of the type of sums
  View<> gradient;  // [chunk, vocab] of the first model's, as rows are stored: in their place but for bf16

  static CrossEntropyLogits carve(Arena& scratch, DType stored, int64_t rows, int64_t vocab, int64_t models) {
    const int64_t chunk = cross_entropy_chunk(stored, rows);
    if (stored != DType::BF16) {
      const View<> logits = scratch.take(stored, {models * chunk, vocab});
      return {logits, logits.rows(0, chunk)};
    }
    return {scratch.take(DType::F32, {models * chunk, vocab}), scratch.take(stored, {chunk, vocab})};
  }
};

}  // namespace memring
