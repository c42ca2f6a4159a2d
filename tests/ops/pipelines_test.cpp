// Pipelines: whatever the number of threads, a stage takes its items in turn and an item its stages; and a step that
// fails ends the call rather than those who wait for it.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/pipelines.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>
#include <vector>

#include "base/queue.h"

namespace memring {
namespace {

constexpr int64_t kLines = 2, kStages = 7, kItems = 40;

/// Sums that remember the order of their terms: of each stage over items, and of each item over stages.
std::vector<uint64_t> ordered_sums(int threads) {
  std::vector<uint64_t> of_stage(kLines * kStages), of_item(kLines * kItems);
  const auto add = [](uint64_t& sum, uint64_t term) { sum = sum * 6364136223846793005u + term; };
  pipelines(Queue(), threads, kLines, kStages, kItems, [&](int64_t line, int64_t stage, int64_t item) {
    if (item % 8 == stage) std::this_thread::yield();
    add(of_stage[static_cast<size_t>(line * kStages + stage)], static_cast<uint64_t>(item));
    add(of_item[static_cast<size_t>(line * kItems + item)], static_cast<uint64_t>(stage));
  });
  of_stage.insert(of_stage.end(), of_item.begin(), of_item.end());
  return of_stage;
}

TEST(Pipelines, KeepTheOrderOfBothSums) {
  const auto expected = ordered_sums(1);
  for (const int threads : {2, 3, 8, 20})
    for (int again = 0; again < 20; ++again) ASSERT_EQ(ordered_sums(threads), expected) << threads << " threads";
}

TEST(Pipelines, DoNothingWithoutWork) {
  for (const int64_t lines : {0, 2})
    pipelines(Queue(), 2, lines, 1, lines == 0 ? 1 : 0, [](int64_t, int64_t, int64_t) { FAIL(); });
}

TEST(Pipelines, EndWithTheErrorOfAStep) {
  for (const int threads : {1, 2, 8})
    EXPECT_THROW(pipelines(Queue(), threads, kLines, kStages, kItems,
                           [](int64_t, int64_t stage, int64_t item) {
                             if (stage == 2 && item == 3) throw std::runtime_error("a step fails");
                           }),
                 std::runtime_error)
        << threads << " threads";
}

}  // namespace
}  // namespace memring
