// Hopper's barriers, copies of boxes and products of warpgroups on fibers: each against plain arithmetic, late as they
// may be, and what they refuse.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "fiber_failure.h"
#include "kernels/cuda/fiber/sanitizer.h"
#include "tests/device/hopper_product.h"

namespace memring {
namespace {

/// Small integers, whose products and sums are exact.
std::vector<Bf16> integers(int64_t count, uint64_t seed) {
  const Random random(seed, Purpose::Test);
  std::vector<Bf16> numbers;
  for (int64_t i = 0; i < count; ++i)
    numbers.emplace_back(static_cast<float>(random.below(static_cast<uint32_t>(i), 9)) - 4);
  return numbers;
}

/// A box that was copied, and read where swizzling has put it.
struct Box {
  Bf16 of[128][64];
  float at(int row, int column) const { return of[row][((column / 8) ^ (row % 8)) * 8 + column % 8].value(); }
};

TEST(FiberBarrier, EndsAPhaseWhenAllHaveArrived) {
  fiber::run({1, 1, 64, sizeof(Barrier)}, 1, [&] {
    auto& barrier = block_memory<Barrier>();
    if (thread_index() == 0) barrier_init(barrier, kWarp);
    meet_block();
    for (int phase = 0; phase < 3; ++phase) {
      if (warp_index() == 0)
        barrier_arrive(barrier);
      else
        barrier_wait(barrier, phase % 2);
      meet_block();
    }
    barrier_wait(barrier, 0);  // the one before the current, with number 3
  });
  const int line = __LINE__ + 4;
  const std::string failure = failure_of({1, 1, 32, sizeof(Barrier)}, [&] {
    if (thread_index() == 0) barrier_init(block_memory<Barrier>(), 33);
    meet_warp();
    barrier_arrive(block_memory<Barrier>()), barrier_wait(block_memory<Barrier>(), 0);
  });
  EXPECT_EQ(failure, fmt::format("nobody goes on in block (0, 0): 32 threads (0 first) wait at "
                                 "fiber_hopper_test.cpp:{}",
                                 line));
  EXPECT_NE(failure_of({1, 1, 32, sizeof(Barrier)}, [] { barrier_arrive(block_memory<Barrier>()); })
                .find("a barrier that nobody has made"),
            std::string::npos);
}

TEST(FiberTensorCopy, ArrivesWithItsBarrierAndFillsWithZeros) {
  const auto numbers = integers(2 * 5 * 72, 1);  // two matrices of 5 rows of 72
  const TensorMap map = tensor_map(numbers.data(), 72, 5, 2, 8);
  struct Shared {
    Box box;
    Barrier barrier;
  };
  fiber::run({1, 1, kWarp, sizeof(Shared)}, 1, [&] {
    auto& shared = block_memory<Shared>();
    if (lane_index() == 0) {
      barrier_init(shared.barrier, 1);
      barrier_expect(shared.barrier, 8 * 128);
      shared.box.of[0][0] = Bf16(1);
      tensor_copy(shared.box.of, map, 16, -1, 1, shared.barrier);
      const fiber::Unwatched race;
      EXPECT_TRUE(std::isnan(shared.box.at(0, 0)));
    }
    meet_warp();
    barrier_wait(shared.barrier, 0);
    for (int row = lane_index() % 8, column = 0; column < 64; ++column) {
      const bool inside = row >= 1 && row <= 5 && 16 + column < 72;
      const int place = (5 + row - 1) * 72 + 16 + column;
      const float expected = inside ? numbers[static_cast<size_t>(place)].value() : 0;
      EXPECT_EQ(shared.box.at(row, column), expected) << row << ", " << column;
    }
  });
  EXPECT_NE(failure_of({1, 1, kWarp, sizeof(Shared)},
                       [&] {
                         auto& shared = block_memory<Shared>();
                         if (lane_index() != 0) return;
                         barrier_init(shared.barrier, 1);
                         tensor_copy(shared.box.of, map, 0, 0, 0, shared.barrier);
                       })
                .find("all threads have left while a copy is under way"),
            std::string::npos);
}

// c = a v with a [64, 32] in registers and v [32, 128] by its rows, two boxes beside each other: as attention takes
// values.
TEST(FiberWgmma, TakesAFromRegistersAndBByItsColumns) {
  const auto a = integers(64 * 32, 1), v = integers(32 * 128, 2);
  const TensorMap map = tensor_map(v.data(), 128, 32, 1, 32);
  std::vector<float> found(64 * 128);
  struct Shared {
    Bf16 v[2][32][64];
    Barrier barrier;
  };
  fiber::run({1, 1, 128, sizeof(Shared)}, 1, [&] {
    auto& shared = block_memory<Shared>();
    if (thread_index() == 0) {
      barrier_init(shared.barrier, 1);
      barrier_expect(shared.barrier, sizeof(shared.v));
      for (int i = 0; i < 2; ++i) tensor_copy(shared.v[i], map, 64 * i, 0, 0, shared.barrier);
    }
    meet_block();
    barrier_wait(shared.barrier, 0);
    const int g = lane_index() / 4, t = lane_index() % 4;
    uint32_t of_a[2][4];
    for (int k = 0; k < 2; ++k)
      for (int i = 0; i < 4; ++i) {
        const int place = (warp_index() * 16 + g + i % 2 * 8) * 32 + 16 * k + 2 * t + i / 2 * 8;
        const auto at = static_cast<size_t>(place);
        of_a[k][i] = pack_bf16(a[at].value(), a[at + 1].value());
      }
    float sums[64];
    for (float& sum : sums) sum = 1;
    wgmma_fence(sums);
    wgmma<true>(sums, of_a[0], operand(shared.v[0], sizeof(shared.v[0])), true);
    wgmma_commit();
    wgmma<true>(sums, of_a[1], operand(shared.v[0][16], sizeof(shared.v[0])), true);
    wgmma_commit();
    EXPECT_TRUE(std::isnan(sums[0]) && std::isnan(sums[63]));
    wgmma_wait<1>();
    EXPECT_TRUE(std::isnan(sums[0]));  // another product adds to them
    wgmma_wait<0>(sums);
    for (int i = 0; i < 64; ++i) {
      const int place = (warp_index() * 16 + g + i / 2 % 2 * 8) * 128 + i / 4 * 8 + 2 * t + i % 2;
      found[static_cast<size_t>(place)] = sums[i];
    }
  });
  for (size_t r = 0; r < 64; ++r)
    for (size_t n = 0; n < 128; ++n) {
      float sum = 1;
      for (size_t k = 0; k < 32; ++k) sum += a[r * 32 + k].value() * v[k * 128 + n].value();
      EXPECT_EQ(found[r * 128 + n], sum) << r << ", " << n;
    }
}

TEST(FiberWgmma, RefusesWhatHardwareLeavesUndefined) {
  const Grid grid{1, 1, 128, sizeof(Box)};
  const auto multiply = [](bool fence, bool change) {
    float sums[32];
    uint32_t a[4] = {};
    if (fence) wgmma_fence(sums);
    wgmma(sums, a, operand(&block_memory<Box>()), false);
    wgmma_commit();
    if (change) ++a[2];
    wgmma_wait<0>(sums);
  };
  EXPECT_EQ(failure_of(grid, [&] { multiply(true, false); }), "none");
  EXPECT_NE(failure_of(grid, [&] { multiply(false, false); }).find("without a wgmma_fence"), std::string::npos);
  EXPECT_NE(failure_of(grid, [&] { multiply(true, true); }).find("has changed registers"), std::string::npos);
  EXPECT_NE(failure_of({1, 1, 64, sizeof(Box)}, [&] { multiply(true, false); }).find("in no warpgroup"),
            std::string::npos);
  EXPECT_NE(failure_of({1, 1, 128, 1024}, [&] { multiply(true, false); }).find("beyond the block's memory"),
            std::string::npos);
}

template <int Columns>
std::vector<float> product(const std::vector<Bf16>& a, const std::vector<Bf16>& b, int m, int n, int k, uint64_t seed) {
  std::vector<float> c(static_cast<size_t>(m * n), -1);
  const TensorMap of_a = tensor_map(a.data(), k, m, 1, kRows), of_b = tensor_map(b.data(), k, n, 1, Columns);
  fiber::run(product_grid<Columns>(m, n), seed, [&] { hopper_product<Columns, true>(c.data(), of_a, of_b, m, n, k); });
  return c;
}

TEST(FiberHopper, AProducerAndTwoWarpgroupsMultiplyAsPlainLoops) {
  const int m = 130, n = 72, k = 200;
  const auto a = integers(m * k, 1), b = integers(n * k, 2);
  std::vector<float> expected(static_cast<size_t>(m * n));
  const size_t rows = m, columns = n, terms = k;
  for (size_t r = 0; r < rows; ++r)
    for (size_t at = 0; at < columns; ++at)
      for (size_t i = 0; i < terms; ++i)
        expected[r * columns + at] += a[r * terms + i].value() * b[at * terms + i].value();
  EXPECT_EQ(product<64>(a, b, m, n, k, 1), expected);
  EXPECT_EQ(product<128>(a, b, m, n, k, 2), expected);
}

}  // namespace
}  // namespace memring
