// Threads of kernels as fibers: what they exchange, what is left to chance, and what is an error with its places.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "fiber_failure.h"
#include "kernels/cuda/fiber/lane.h"
#include "kernels/cuda/fiber/sanitizer.h"
#include "kernels/cuda/refuse_launch.h"

namespace memring {
namespace {

std::string here(int line) { return fmt::format("fiber_test.cpp:{}", line); }

TEST(Fiber, EveryThreadOfEveryBlockRunsOnce) {
  const Grid grid{3, 2, 64, 0};
  std::vector<int> runs(3 * 2 * 64);
  fiber::run(grid, 1, [&] {
    EXPECT_EQ(block_threads(), 64);
    EXPECT_EQ(warp_index() * kWarp + lane_index(), thread_index());
    ++runs[static_cast<size_t>((block_y() * 3 + block_x()) * 64 + thread_index())];
  });
  EXPECT_EQ(runs, std::vector<int>(runs.size(), 1));
}

TEST(Fiber, LanesSeeWhatOthersBring) {
  fiber::run({1, 1, 64, 0}, 1, [] {
    const int lane = lane_index(), warp = warp_index();
    for (int round = 0; round < 5; ++round) {  // the room for what is brought is used again
      EXPECT_EQ(shuffle(100 * warp + lane + round, 7), 100 * warp + 7 + round);
      EXPECT_EQ(shuffle_xor(1.5 * lane, 5), 1.5 * (lane ^ 5));
      EXPECT_EQ(shuffle_down(lane, 3), lane + 3 < kWarp ? lane + 3 : lane);
      EXPECT_EQ(ballot(lane % 3 == 0), 0x49249249u);
    }
  });
}

// A sum by way of the block's memory: right only because all threads meet before it is read.
TEST(Fiber, MemoryOfABlockIsNanUntilItIsWritten) {
  struct Shared {
    float of[64];
  };
  const Grid grid{2, 1, 64, sizeof(Shared)};
  std::vector<float> sums(128);
  const auto sum = [&] {
    float total = 0;
    for (const float x : block_memory<Shared>().of) total += x;
    sums[static_cast<size_t>(block_x() * 64 + thread_index())] = total;
  };
  fiber::run(grid, 1, [&] {
    block_memory<Shared>().of[thread_index()] = static_cast<float>(block_x() + 1);
    meet_block();
    sum();
  });
  for (size_t i = 0; i < sums.size(); ++i) EXPECT_EQ(sums[i], i < 64 ? 64 : 128);
  fiber::run(grid, 1, [&] {  // the same without the meeting
    const fiber::Unwatched race;
    block_memory<Shared>().of[thread_index()] = 1;
    sum();
  });
  EXPECT_GT(std::count_if(sums.begin(), sums.end(), [](float x) { return std::isnan(x); }), 64);
}

TEST(Fiber, TheOrderOfThreadsFollowsFromTheSeed) {
  const auto order = [](uint64_t seed) {
    std::vector<int> threads;
    fiber::run({2, 1, 32, 0}, seed, [&] {
      const fiber::Unwatched race;
      threads.push_back(thread_index());
      meet_block();
      threads.push_back(thread_index());
    });
    return threads;
  };
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
  std::vector<int> sorted = order(3);
  std::sort(sorted.begin(), sorted.begin() + 32);
  std::vector<int> all(32);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_TRUE(std::equal(all.begin(), all.end(), sorted.begin()));  // nobody is behind the meeting before all are there
}

TEST(Fiber, WaitingForWhoHasLeftNamesThePlaces) {
  const int line = __LINE__ + 2;
  const std::string failure = failure_of({1, 1, 64, 0}, [] {
    if (thread_index() < 40) meet_block();
  });
  EXPECT_EQ(failure,
            fmt::format("nobody goes on in block (0, 0): 24 threads (40 first) have left, 40 threads (0 first) "
                        "wait at {}",
                        here(line)));
}

TEST(Fiber, MeetingAtDifferentPlacesIsAnError) {
  const int line = __LINE__ + 3;
  const std::string failure = failure_of({1, 1, 32, 0}, [] {
    if (lane_index() < 16)
      shuffle(1, 0);
    else
      shuffle(2, 0);
  });
  EXPECT_NE(failure.find(here(line)), std::string::npos) << failure;
  EXPECT_NE(failure.find(here(line + 2)), std::string::npos) << failure;
  EXPECT_NE(failure.find("who wait for it at"), std::string::npos) << failure;
}

TEST(Fiber, WhatAThreadThrowsEndsTheKernel) {
  EXPECT_EQ(failure_of({1, 1, 32, 0},
                       [] {
                         meet_block();
                         if (thread_index() == 5) throw Error(ExitCode::Internal, "five");
                         meet_block();
                       }),
            "five");
  EXPECT_EQ(failure_of({1, 1, 33, 0}, [] {}), "a grid of 1 x 1 blocks of 33 threads with 0 bytes");
  EXPECT_EQ(failure_of({1, 1, 32, 1 << 20}, [] {}), "a grid of 1 x 1 blocks of 32 threads with 1048576 bytes");
}

TEST(Fiber, ALaunchThatFailsOnAGpuNamesItsPlace) {
  try {
    refuse_launch("/somewhere/kernels/rows/cuda.cu", 7, {2, 3, 64, 5}, "no device");
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "kernels/rows/cuda.cu:7: a kernel of 2 x 3 blocks of 64 threads with 5 bytes each did not start: no "
                 "device");
    EXPECT_EQ(error.code(), ExitCode::Internal);
    return;
  }
  FAIL();
}

}  // namespace
}  // namespace memring
