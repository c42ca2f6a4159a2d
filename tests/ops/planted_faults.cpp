// Kernels with a fault each, on fibers: planted_faults_test.py looks whether it is found. Usage: planted_faults FAULT
// Writes what came of it: "right", "NaN", "wrong" or an error.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/fiber/copy_async.h"
#include "kernels/cuda/fiber/lane.h"
#include "kernels/cuda/fiber/mma.h"
#include "kernels/cuda/reduce.h"
#include "kernels/cuda/twin/device.h"
#include "tests/device/hopper_product.h"

namespace memring {
namespace {

enum class Fault {
  None,
  MeetingBeforeReadingIsMissing,
  MeetingBehindReadingIsMissing,
  MeetingBeforeLoadingIsMissing,
  WaitsForTheGroupBefore,
  SumsOfHalfAWarp,
  LanesPartAtAShuffle,
  TailReadsOneTooMany,
  TailWritesOneTooMany,
  BlocksShareANumber,
  ProducerDoesNotWaitForAnEmptyStage,
};
const std::map<std::string, Fault> kFaults{
    {"none", Fault::None},
    {"meeting_before_reading_is_missing", Fault::MeetingBeforeReadingIsMissing},
    {"meeting_behind_reading_is_missing", Fault::MeetingBehindReadingIsMissing},
    {"meeting_before_loading_is_missing", Fault::MeetingBeforeLoadingIsMissing},
    {"waits_for_the_group_before", Fault::WaitsForTheGroupBefore},
    {"sums_of_half_a_warp", Fault::SumsOfHalfAWarp},
    {"lanes_part_at_a_shuffle", Fault::LanesPartAtAShuffle},
    {"tail_reads_one_too_many", Fault::TailReadsOneTooMany},
    {"tail_writes_one_too_many", Fault::TailWritesOneTooMany},
    {"blocks_share_a_number", Fault::BlocksShareANumber},
    {"producer_does_not_wait_for_an_empty_stage", Fault::ProducerDoesNotWaitForAnEmptyStage}};

constexpr int kThreads = 64, kTiles = 5;
constexpr int kTile = 4 * kThreads;               // numbers: four a thread
constexpr int kNumbers = kTiles * kTile - 4 + 1;  // the last thread has one of its four in the last tile

struct Stages {
  alignas(16) float of[2][kTile];
};

/// Thread t of each block sums, of each tile, what thread kThreads - 1 - t has copied; lanes of a warp then sum theirs.
/// sums: [blocks, threads].
void sum_tiles(Fault fault, float* sums, const float* in) {
  auto& stages = block_memory<Stages>();
  const int t = thread_index();
  const auto copy_tile = [&](int tile) {
    const int at = tile * kTile + 4 * t, left = fault == Fault::TailReadsOneTooMany ? kNumbers + 1 - at : kNumbers - at;
    if (tile < kTiles) copy_async(&stages.of[tile % 2][4 * t], in + at, 4 * std::clamp(left, 0, 4));
    copy_commit();
  };
  copy_tile(0);  // begins
  float sum = 0;
  if (fault == Fault::MeetingBeforeLoadingIsMissing) {
    uint32_t matrices[4];
    stages.of[1][4 * t] = 0;                                      // writes what is loaded
    load_matrices(matrices, &stages.of[1][kTile - 4 * (t + 1)]);  // loads
  }
  for (int tile = 0; tile < kTiles; ++tile) {
    copy_tile(tile + 1);  // copies
    if (fault == Fault::WaitsForTheGroupBefore)
      copy_wait<2>();
    else
      copy_wait<1>();  // arrives
    if (fault != Fault::MeetingBeforeReadingIsMissing) meet_block();
    for (int i = 0; i < 4; ++i) sum += stages.of[tile % 2][kTile - 4 * (t + 1) + i];  // reads
    if (fault != Fault::MeetingBehindReadingIsMissing) meet_block();
  }
  if (fault == Fault::SumsOfHalfAWarp) {
    if (lane_index() < 16) sum = warp_sum(sum);  // half
  } else if (fault == Fault::LanesPartAtAShuffle) {
    sum = lane_index() % 2 == 0 ? shuffle(sum, 0)   // even
                                : shuffle(sum, 1);  // odd
  } else {
    sum = warp_sum(sum);
  }
  const int64_t block = fault == Fault::BlocksShareANumber ? 0 : block_x();
  sums[block * kThreads + t] = sum;                                                // writes
  if (fault == Fault::TailWritesOneTooMany) sums[block * kThreads + t + 1] = sum;  // writes too much
}

std::string outcome_of_product() {
  constexpr int kNumbersOfSum = 8 * kSum;
  const std::vector<Bf16> a(kRows * kNumbersOfSum, Bf16(1)), b(64 * kNumbersOfSum, Bf16(1));
  std::vector<float> c(kRows * 64);
  const TensorMap of_a = tensor_map(a.data(), kNumbersOfSum, kRows, 1, kRows),
                  of_b = tensor_map(b.data(), kNumbersOfSum, 64, 1, 64);
  fiber::run(product_grid<64>(kRows, 64), 1,
             [&] { hopper_product<64, false>(c.data(), of_a, of_b, kRows, 64, kNumbersOfSum); });
  const bool right = std::all_of(c.begin(), c.end(), [](float x) { return x == kNumbersOfSum; });
  return right ? "right" : std::any_of(c.begin(), c.end(), [](float x) { return std::isnan(x); }) ? "NaN" : "wrong";
}

std::string outcome(Fault fault) {
  constexpr int kBlocks = 2;
  TwinDevice device(1);
  const auto take = [&](int64_t numbers) {
    auto* const address = device.take(numbers * static_cast<int64_t>(sizeof(float)), Space::Device);
    return device.on_host(reinterpret_cast<float*>(address));
  };
  float* const in = take(kNumbers);
  float* const sums = take(kBlocks * kThreads);
  for (int i = 0; i < kNumbers; ++i) in[i] = static_cast<float>(i % 7);
  float expected = 0;
  const auto reads = [](int i) { return kThreads - 1 - i % kTile / 4; };  // the thread
  std::string found = "right";
  for (const uint64_t seed : {1, 2, 3}) {
    fiber::run({kBlocks, 1, kThreads, sizeof(Stages)}, seed, [&] { sum_tiles(fault, sums, in); });
    for (int i = 0; i < kBlocks * kThreads && found == "right"; ++i) {
      expected = 0;
      for (int j = 0; j < kNumbers; ++j)
        if (reads(j) / kWarp == i % kThreads / kWarp) expected += in[j];
      if (sums[i] != expected) found = std::isnan(sums[i]) ? "NaN" : "wrong";
    }
  }
  return found;
}

}  // namespace
}  // namespace memring

int main(int count, char** words) {
  const auto fault = count == 2 ? memring::kFaults.find(words[1]) : memring::kFaults.end();
  if (fault == memring::kFaults.end()) {
    std::fputs("usage: planted_faults FAULT\n", stderr);
    for (const auto& [name, of_it] : memring::kFaults) std::fprintf(stderr, "  %s\n", name.c_str());
    return 2;
  }
  try {
    const bool of_product = fault->second == memring::Fault::ProducerDoesNotWaitForAnEmptyStage;
    std::puts((of_product ? memring::outcome_of_product() : memring::outcome(fault->second)).c_str());
  } catch (const memring::Error& error) {
    std::puts(error.what());
  }
  return 0;
}
