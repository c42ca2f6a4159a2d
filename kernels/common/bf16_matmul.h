// bf16 matrix products by oneDNN primitives, for CPUs whose matrix units take bf16. Private to kernels/common.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/gemm.h"

namespace memring {

/// Whether products should go this way: the CPU has AMX and oneDNN may use it (ONEDNN_MAX_CPU_ISA). Elsewhere
/// oneDNN 2.6 refuses to create bf16 primitives, or they are slower than sgemm.
bool bf16_matmul_is_fast();

/// C = (+=) op(A) op(B) as in gemm.h, on dense bf16 operands. Primitives are cached by shape in each thread.
void bf16_matmul(Transpose a, Transpose b, int64_t m, int64_t n, int64_t k, const uint16_t* A, const uint16_t* B,
                 Write write, float* C, int64_t ldc);

}  // namespace memring
