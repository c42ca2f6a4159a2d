// Copies from global to the block's memory that a thread does not wait for, on a GPU: cp.async of PTX, from sm_80 on
// (kernels/cuda/fiber/copy_async.h: on the host, and what each of these means). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <lane.h>

namespace memring {

/// Where PTX finds what lies in the block's memory.
MEMRING_LANE uint32_t shared_address(const void* in_block_memory) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(in_block_memory));
}

MEMRING_LANE void copy_async(void* to, const void* from, int bytes = 16, Place = Place::current()) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
MEMRING_LANE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int Pending>
MEMRING_LANE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

}  // namespace memring
