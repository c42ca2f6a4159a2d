// Work that is shared between threads along two sums at once, neither of which may change its order. Private to
// kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <limits>
#include <vector>

#include "base/error.h"
#include "kernels/common/dispatch.h"

namespace memring {

/// `lines` pipelines side by side. A line's stages take its items in turn: step(line, stage, item) runs behind the
/// stage's item before, and behind the item's stage before. So what a stage sums over items, and an item over stages,
/// has one order whatever the number of threads. Behind each step comes what parallel_tasks calls pause.
///
/// Takes 8 bytes for each stage of each line.
template <class Step>
void pipelines(const Queue& queue, int threads, int64_t lines, int64_t stages, int64_t items, const Step& step) {
  using Count = std::atomic<int64_t>;
  std::vector<Count> done(static_cast<size_t>(lines * stages));  // items of each stage
  const auto tell = [](Count& count, int64_t value) {
    count.store(value, std::memory_order_release);
    count.notify_all();
  };
  const auto wait = [](const Count& count, int64_t least) {
    for (int64_t found = 0; (found = count.load(std::memory_order_acquire)) < least;) count.wait(found);
  };
  // Stages are taken in ascending order, so that whoever waits waits for one that somebody is at.
  Count next{0};
  parallel_tasks(queue, threads, threads, [&](int64_t, const auto& pause) {
    for (int64_t task = 0; (task = next.fetch_add(1)) < lines * stages;) {
      Count& mine = done[static_cast<size_t>(task)];
      try {
        for (int64_t item = 0; item < items; ++item) {
          if (task >= lines) wait(done[static_cast<size_t>(task - lines)], item + 1);
          step(task % lines, task / lines, item);
          tell(mine, item + 1);
          pause();
        }
      } catch (...) {  // a poll's: nobody may wait for what does not come
        tell(mine, std::numeric_limits<int64_t>::max());
        throw;
      }
    }
  });
}

}  // namespace memring
