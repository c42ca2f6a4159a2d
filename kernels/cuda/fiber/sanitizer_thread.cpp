// ThreadSanitizer takes each fiber for a thread that knows of the others by their edges alone.
// SPDX-License-Identifier: Apache-2.0
#include <sanitizer/tsan_interface.h>

#include "kernels/cuda/fiber/sanitizer.h"

extern "C" {  // of its runtime, in none of its headers
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}

namespace memring::fiber {

Sanitized sanitized_fiber(const void* bottom, size_t bytes) { return {bottom, bytes, __tsan_create_fiber(0)}; }
void forget_fiber(Sanitized& fiber) { __tsan_destroy_fiber(fiber.kept); }
void before_switch(Sanitized& from, Sanitized& to, bool) {
  from.kept = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to.kept, __tsan_switch_to_fiber_no_sync);
}
void after_switch(Sanitized&, Sanitized&) {}
void give_edge(void* at) { __tsan_release(at); }
void take_edge(void* at) { __tsan_acquire(at); }
Unwatched::Unwatched() {
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
Unwatched::~Unwatched() {
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

}  // namespace memring::fiber
