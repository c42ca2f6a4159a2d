// What sanitizers are told of fibers: which stack runs, and who has seen what. Of sanitizer_none.cpp,
// sanitizer_address.cpp and sanitizer_thread.cpp a build has one. Private to kernels/cuda/fiber/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace memring::fiber {

/// A fiber, or the thread that runs fibers, as a sanitizer knows it.
struct Sanitized {
  const void* bottom = nullptr;  ///< of its stack
  size_t bytes = 0;
  void* kept = nullptr;  ///< AddressSanitizer's while another one runs; ThreadSanitizer's own
};
Sanitized sanitized_fiber(const void* bottom, size_t bytes);
void forget_fiber(Sanitized&);

/// Immediately before `from` gives way to `to`, for ever where it `ends`; and `here` as the first thing after, which
/// came `from` there. What the one has written is not thereby seen by the other.
void before_switch(Sanitized& from, Sanitized& to, bool ends);
void after_switch(Sanitized& here, Sanitized& from);

/// What the fibers that have passed give_edge(at) had written is seen by those that have passed take_edge(at) since.
void give_edge(void* at);
void take_edge(void* at);

/// While it lives nobody looks for races of this fiber's accesses.
class Unwatched {
 public:
  Unwatched();
  ~Unwatched();
  Unwatched(const Unwatched&) = delete;
  Unwatched& operator=(const Unwatched&) = delete;
};

}  // namespace memring::fiber
