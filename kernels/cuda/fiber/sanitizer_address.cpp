// AddressSanitizer is told which stack runs: it unpoisons stacks where exceptions pass.
// SPDX-License-Identifier: Apache-2.0
#include <sanitizer/common_interface_defs.h>

#include "kernels/cuda/fiber/sanitizer.h"

namespace memring::fiber {

Sanitized sanitized_fiber(const void* bottom, size_t bytes) { return {bottom, bytes, nullptr}; }
void forget_fiber(Sanitized&) {}
void before_switch(Sanitized& from, Sanitized& to, bool ends) {
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.kept, to.bottom, to.bytes);
}
void after_switch(Sanitized& here, Sanitized& from) {
  __sanitizer_finish_switch_fiber(here.kept, &from.bottom, &from.bytes);  // of a thread the stack is told here alone
}
void give_edge(void*) {}
void take_edge(void*) {}
Unwatched::Unwatched() {}   // NOLINT(modernize-use-equals-default): what the header declares
Unwatched::~Unwatched() {}  // NOLINT(modernize-use-equals-default)

}  // namespace memring::fiber
