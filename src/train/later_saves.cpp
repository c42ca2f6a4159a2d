// SPDX-License-Identifier: Apache-2.0
#include "train/later_saves.h"

#include <utility>

namespace memring {

LaterSaves::LaterSaves(const CheckpointConfig& config) : config_(config) {}

void LaterSaves::ask(StepSums& sums, bool rank0) const {
  const std::chrono::duration<double> since = Clock::now() - last_;
  if (rank0 && config_.every_minutes > 0 && since.count() >= 60 * config_.every_minutes) sums.save = true;
}

void LaterSaves::plan(int64_t step, const StepSums& reduced) {
  if (!reduced.save && (config_.every == 0 || step % config_.every != 0)) return;
  due_ = true;
  last_ = Clock::now();
}

bool LaterSaves::take_due() { return std::exchange(due_, false); }

}  // namespace memring
