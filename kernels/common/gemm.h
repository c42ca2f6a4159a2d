// Single-precision matrix product over oneDNN, shared by the operators that multiply matrices. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/queue.h"
#include "kernels/common/write.h"

namespace memring {

enum class Transpose : bool { No, Yes };

/// C = (+=) op(A) op(B) with op(A) [m, k], op(B) [k, n], C [m, n]. All row-major; lda, ldb, ldc are the distances
/// between the rows of A, B, C as they are stored. m == 0 or n == 0 does nothing; k == 0 is an empty sum (Overwrite
/// writes zeros).
///
/// Uses queue.threads() threads, or one when called from a body of parallel_for. With Products::Bf16 both operands are
/// rounded to bf16 (nearest even) and summed in fp32. oneDNN chooses the order of the sums by shape and thread count.
void gemm(const Queue&, Transpose a, Transpose b, int64_t m, int64_t n, int64_t k, const float* A, int64_t lda,
          const float* B, int64_t ldb, Write write, float* C, int64_t ldc);

}  // namespace memring
