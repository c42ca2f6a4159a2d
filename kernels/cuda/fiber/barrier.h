// Barriers in the block's memory that count arrivals and bytes, on fibers (kernels/cuda/nvcc/barrier.h: on a GPU).
// Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda/fiber/lane.h"

namespace memring {

/// Lies in the block's memory. Its phases, numbered from 0, end one after the other: each when as many arrivals and
/// bytes have come as it has to wait for. What who arrives has done before is seen by who waits for that phase.
struct Barrier {
  uint64_t state;
};

/// By one thread, with a meeting of all before anybody uses it: each phase waits for so many arrivals.
inline void barrier_init(Barrier& barrier, int arrivals, Place place = Place::current()) {
  fiber::barrier_init(&barrier, arrivals, place);
}
inline void barrier_arrive(Barrier& barrier, Place place = Place::current()) {
  fiber::barrier_arrive(&barrier, 0, place);
}
/// Arrives, and lets the phase wait for so many bytes of copies (tensor_copy.h) besides.
inline void barrier_expect(Barrier& barrier, int bytes, Place place = Place::current()) {
  fiber::barrier_arrive(&barrier, bytes, place);
}
/// Until the last phase of this parity, 0 or 1, has ended: the current one, or the one before (before the first there
/// was one of parity 1).
inline void barrier_wait(Barrier& barrier, int parity, Place place = Place::current()) {
  fiber::barrier_wait(&barrier, parity, place);
}

/// Between what a thread itself has written to the block's memory and what tensor copies and wgmma do there.
inline void proxy_fence() {}

}  // namespace memring
