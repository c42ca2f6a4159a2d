// The validator's inner entry: it takes actions from anywhere, so that tests can plant faults in them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "dist/schedule.h"

namespace memring::scheduling {

/// What the actions of all ranks of a segment axis must amount to.
struct ScheduleTask {
  Dependency dependency = Dependency::None;
  Extent extent;
  std::vector<bool> closed;  ///< as in Schedule::derive, one entry a segment
  Policy policy;
  std::vector<std::array<int32_t, kSlotKinds>> slots;  ///< announced, per rank
};

/// Replaces its argument by the next actions of a rank; false: there are none left.
using ActionSource = std::function<bool(std::vector<Action>&)>;

/// Replays `ranks[p]`, the actions of rank p of the segment axis, and returns the faults in words (at most some
/// twenty); empty: valid.
std::vector<std::string> validate(const ScheduleTask&, std::vector<ActionSource> ranks);

}  // namespace memring::scheduling
