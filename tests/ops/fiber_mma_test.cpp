// Asynchronous copies and products of a warp on fibers: each against plain arithmetic, and what they refuse.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "fiber_failure.h"
#include "kernels/cuda/fiber/copy_async.h"
#include "kernels/cuda/fiber/mma.h"

namespace memring {
namespace {

struct Rows {
  alignas(16) Bf16 of[32][8];
};

const Grid kOneWarp{1, 1, kWarp, sizeof(Rows)};

std::vector<Bf16> random_bf16(size_t count, uint64_t seed) {
  const Random random(seed, Purpose::Test);
  std::vector<Bf16> numbers;
  for (size_t i = 0; i < count; ++i) numbers.emplace_back(static_cast<float>(random.normal(static_cast<uint32_t>(i))));
  return numbers;
}

TEST(FiberCopy, ArrivesAtTheWaitOfItsGroupAndNotBefore) {
  struct Source {
    alignas(16) float of[kWarp][2][4];
  } source{};
  for (int i = 0; i < kWarp * 8; ++i) (&source.of[0][0][0])[i] = static_cast<float>(i);
  struct Shared {
    alignas(16) float of[kWarp][2][4];
  };
  fiber::run({1, 1, kWarp, sizeof(Shared)}, 1, [&] {
    const int lane = lane_index();
    auto& mine = block_memory<Shared>().of[lane];
    mine[0][0] = mine[1][0] = 7;
    copy_async(mine[0], source.of[lane][0]);
    copy_commit();
    copy_async(mine[1], source.of[lane][1], 8);
    copy_commit();
    EXPECT_TRUE(std::isnan(mine[0][0]) && std::isnan(mine[1][0]));  // not even what was there before
    copy_wait<1>();
    EXPECT_EQ(mine[0][3], static_cast<float>(8 * lane + 3));
    EXPECT_TRUE(std::isnan(mine[1][0]));
    copy_wait<0>();
    EXPECT_EQ(mine[1][1], static_cast<float>(8 * lane + 5));
    EXPECT_EQ(mine[1][2], 0);  // behind the valid bytes
    copy_async(mine[0], nullptr, 0);
    copy_commit();
    copy_commit();  // an empty group
    copy_wait<1>();
    EXPECT_EQ(mine[0][0], 0);
    copy_async(mine[0], source.of[lane][1]);
    copy_wait<0>();  // of no group
    EXPECT_TRUE(std::isnan(mine[0][0]));
  });
}

TEST(FiberCopy, RefusesAddressesThatHardwareRefuses) {
  alignas(16) std::array<float, 8> source{};
  const auto failure = [&](size_t offset, const float* from, int bytes) {
    return failure_of(kOneWarp, [=] {
      if (lane_index() == 0) copy_async(reinterpret_cast<std::byte*>(&block_memory<Rows>()) + offset, from, bytes);
    });
  };
  EXPECT_EQ(failure(0, source.data(), 16), "none");
  EXPECT_NE(failure(8, source.data(), 16).find("no multiple of 16"), std::string::npos);
  EXPECT_NE(failure(0, source.data() + 1, 16).find("no multiple of 16"), std::string::npos);
  EXPECT_NE(failure(sizeof(Rows), source.data(), 16).find("outside of the block's memory"), std::string::npos);
  EXPECT_NE(failure(0, source.data(), 17).find("17 bytes"), std::string::npos);
}

TEST(FiberMma, LoadsMatricesAndTheirTransposes) {
  fiber::run(kOneWarp, 1, [] {
    auto& rows = block_memory<Rows>();
    const int lane = lane_index(), g = lane / 4, t = lane % 4;
    for (int i = 0; i < 8; ++i) rows.of[lane][i].bits = static_cast<uint16_t>(8 * lane + i);  // 64 matrix + 8 row + i
    meet_warp();
    uint32_t plain[4], transposed[4];
    load_matrices(plain, rows.of[lane]);
    load_transposed(transposed, rows.of[lane]);
    for (int m = 0; m < 4; ++m) {
      EXPECT_EQ(plain[m], static_cast<uint32_t>((64 * m + 8 * g + 2 * t) | (64 * m + 8 * g + 2 * t + 1) << 16));
      EXPECT_EQ(transposed[m], static_cast<uint32_t>((64 * m + 16 * t + g) | (64 * m + 16 * t + 8 + g) << 16));
    }
  });
  EXPECT_NE(failure_of(kOneWarp,
                       [] {
                         uint32_t of[4];
                         load_matrices(of, &block_memory<Rows>().of[lane_index()][1]);
                       })
                .find("no multiple of 16"),
            std::string::npos);
}

// a is 16 x 16 and b 16 x 8 row by row; a by load_matrices, b by load_transposed, the sums by their layout.
TEST(FiberMma, MultipliesAsPlainLoops) {
  const auto a = random_bf16(16 * 16, 1), b = random_bf16(16 * 8, 2), c = random_bf16(16 * 8, 3);
  std::vector<float> found(16 * 8), expected(16 * 8);
  for (size_t m = 0; m < 16; ++m)
    for (size_t n = 0; n < 8; ++n) {
      float sum = c[m * 8 + n].value();
      for (size_t k = 0; k < 16; ++k) sum += a[m * 16 + k].value() * b[k * 8 + n].value();
      expected[m * 8 + n] = sum;
    }
  struct Operands {
    alignas(16) Bf16 a[16][16], b[16][8];
  };
  fiber::run({1, 1, kWarp, sizeof(Operands)}, 1, [&] {
    auto& shared = block_memory<Operands>();
    const int lane = lane_index(), g = lane / 4, t = lane % 4;
    for (int i = lane; i < 256; i += kWarp) shared.a[i / 16][i % 16] = a[static_cast<size_t>(i)];
    for (int i = lane; i < 128; i += kWarp) shared.b[i / 8][i % 8] = b[static_cast<size_t>(i)];
    meet_warp();
    uint32_t of_a[4], of_b[4];
    load_matrices(of_a, &shared.a[lane % 16][lane / 16 * 8]);
    load_transposed(of_b, shared.b[lane % 16]);  // of_b[2] and [3] are of the same matrices once more
    const auto at = [&](int i) {
      const int place = (g + i / 2 * 8) * 8 + 2 * t + i % 2;
      return static_cast<size_t>(place);
    };
    float sums[4];
    for (int i = 0; i < 4; ++i) sums[i] = c[at(i)].value();
    mma_bf16(sums, of_a, of_b[0], of_b[1]);
    for (int i = 0; i < 4; ++i) found[at(i)] = sums[i];
  });
  EXPECT_EQ(found, expected);
}

TEST(FiberMma, LanesThatMultiplyAtDifferentPlacesAreAnError) {
  const int line = __LINE__ + 5;
  const std::string failure = failure_of(kOneWarp, [] {
    float sums[4] = {};
    const uint32_t a[4] = {};
    if (lane_index() < 16)  // NOLINT(bugprone-branch-clone): two places
      mma_bf16(sums, a, 0, 0);
    else
      mma_bf16(sums, a, 0, 0);
  });
  EXPECT_NE(failure.find(fmt::format("fiber_mma_test.cpp:{}", line)), std::string::npos) << failure;
  EXPECT_NE(failure.find(fmt::format("fiber_mma_test.cpp:{}", line + 2)), std::string::npos) << failure;
}

TEST(FiberMma, PacksAndRaisesAsTheHardware) {
  fiber::run(kOneWarp, 1, [] {
    EXPECT_EQ(pack_bf16(1, -2), 0xc0003f80u);
    EXPECT_EQ(pack_bf16(1.00390625f, 1.01171875f), 0x3f823f80u);  // ties to even
    EXPECT_EQ(exp2_fast(10), 1024);
    EXPECT_EQ(exp2_fast(-127), 0);
    EXPECT_EQ(exp2_fast(-std::numeric_limits<float>::infinity()), 0);
  });
}

}  // namespace
}  // namespace memring
