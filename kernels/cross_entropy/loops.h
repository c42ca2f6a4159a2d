// Output head and loss: inner loops, built once per instruction set. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/common/isa_loops.h"

namespace memring {

struct LogSum {
  float largest;
  double sum;  ///< of exp(logit - largest)
};

struct TeacherSum {
  LogSum teacher;
  double gap;  ///< the sum of exp(teacher - largest) (teacher - student)
};

struct CrossEntropyLoops {
  LogSum (*log_sum)(const float* logits, int64_t count);
  LogSum (*exponentials)(float* logits, int64_t count);  ///< logits become exp(logit - largest)
  void (*scale)(float* x, float factor, int64_t count);
  /// As exponentials(teacher); the student stays.
  TeacherSum (*teach)(float* teacher, const float* student, int64_t count);
  void (*subtract)(float* x, const float* y, float factor, int64_t count);  ///< x -= factor y
};
MEMRING_DECLARE_LOOPS(CrossEntropyLoops, cross_entropy_loops)

}  // namespace memring
