// Products of small matrices by a warp, on a GPU: ldmatrix and mma of PTX, from sm_80 on (kernels/cuda/fiber/mma.h: on
// the host, and what each of these means). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <copy_async.h>
#include <lane.h>

namespace memring {

MEMRING_LANE uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

MEMRING_LANE void load_matrices(uint32_t (&of)[4], const void* row, Place = Place::current()) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(of[0]), "=r"(of[1]), "=r"(of[2]), "=r"(of[3])
               : "r"(shared_address(row))
               : "memory");
}
MEMRING_LANE void load_transposed(uint32_t (&of)[4], const void* row, Place = Place::current()) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(of[0]), "=r"(of[1]), "=r"(of[2]), "=r"(of[3])
               : "r"(shared_address(row))
               : "memory");
}

MEMRING_LANE void mma_bf16(float (&sums)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                           Place = Place::current()) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace memring
