// The yardstick of every CPU benchmark: the rate of one large oneDNN product (DESIGN.md, section 10).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/queue.h"

namespace memring {

/// 4096 x 1024 x 1024 in the queue's data type and on its threads: fp32, or bf16 with fp32 sums where the CPU has AMX.
class GemmCeiling {
 public:
  explicit GemmCeiling(const Queue&);
  void run();  ///< computes the product once
  static constexpr int64_t kRows = 4096, kIn = 1024, kOut = 1024;
  static constexpr double kFlops = 2.0 * kRows * kIn * kOut;

 private:
  const Queue& queue_;
  std::vector<float> a_, b_, c_;
  std::vector<uint16_t> a_bf16_, b_bf16_;  ///< where products are computed in bf16
};

}  // namespace memring
