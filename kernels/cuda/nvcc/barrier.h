// Barriers in the block's memory that count arrivals and bytes, on a GPU: mbarrier of PTX, from sm_90 on
// (kernels/cuda/fiber/barrier.h: on the host, and what each of these means). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <copy_async.h>
#include <lane.h>

namespace memring {

struct Barrier {
  uint64_t state;
};

MEMRING_LANE void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

MEMRING_LANE void barrier_init(Barrier& barrier, int arrivals, Place = Place::current()) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals) : "memory");
  proxy_fence();  // copies that complete it see it, too
}
MEMRING_LANE void barrier_arrive(Barrier& barrier, Place = Place::current()) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}
MEMRING_LANE void barrier_expect(Barrier& barrier, int bytes, Place = Place::current()) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)), "r"(bytes)
               : "memory");
}
MEMRING_LANE void barrier_wait(Barrier& barrier, int parity, Place = Place::current()) {
  uint32_t passed;
  do {
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(passed)
                 : "r"(shared_address(&barrier)), "r"(parity)
                 : "memory");
  } while (passed == 0);
}

}  // namespace memring
