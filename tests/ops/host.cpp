// Operators on the CPU: the reference, then the fast path on every instruction set that there is, with 1 and 2 threads;
// products in fp32. (Under ThreadSanitizer only the reference: oneDNN and its threads are not instrumented.)
// SPDX-License-Identifier: Apache-2.0
#include "op_test.h"

namespace memring::test {
namespace {

#ifdef MEMRING_STD_THREADS
constexpr bool kFastPaths = false;
#else
constexpr bool kFastPaths = true;
#endif

}  // namespace

std::vector<Queue::Options> fast_queues() {
  std::vector<Queue::Options> queues;
  if (!kFastPaths) return queues;
  for (Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512})
    for (int threads : {1, 2})
      if (isa <= best_isa()) queues.push_back({.backend = Backend::Cpu, .isa = isa, .threads = threads});
  return queues;
}

std::vector<Queue::Options> every_queue() {
  std::vector<Queue::Options> queues = fast_queues();
  queues.insert(queues.begin(), reference_queue().options());
  return queues;
}

Space space_of_tensors() { return Space::Host; }
void set_space_of_tensors(Space) {}
void settle() {}
void ended(const void*, size_t) {}
RowTable row_table(const std::vector<Row>& rows) { return rows; }

}  // namespace memring::test
