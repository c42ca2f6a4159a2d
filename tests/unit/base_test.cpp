// The values and tools everyone shares: shapes, views, the arena, threads, random numbers, texts.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <new>
#include <set>
#include <system_error>
#include <vector>

#include "base/arena.h"
#include "base/as_error.h"
#include "base/bf16.h"
#include "base/handle.h"
#include "base/parallel.h"
#include "base/random.h"
#include "base/readback.h"
#include "base/text.h"
#include "base/view.h"

namespace memring {
namespace {

TEST(Shape, CountsElementsAndPrintsItself) {
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_EQ((Shape{3, 0, 5}).elements(), 0);
  EXPECT_EQ((Shape{2, 3, 4, 5, 6}).elements(), 720);
  EXPECT_EQ((Shape{2, 64}).text(), "[2, 64]");
  EXPECT_FALSE((Shape{2, 3}) == (Shape{2, 3, 1}));
  EXPECT_THROW((Shape{1, 1, 1, 1, 1, 1}), ShapeError);
  EXPECT_THROW((Shape{2, -1}), ShapeError);
}

TEST(AsError, WhatTheSystemRefusesIsNoBug) {
  using std::filesystem::filesystem_error;
  const Error folder = as_error(filesystem_error("status", "closed/run", {EACCES, std::generic_category()}));
  EXPECT_EQ(folder.code(), ExitCode::Io);
  EXPECT_STREQ(folder.what(), "closed/run: Permission denied");
  const Error memory = as_error(std::bad_alloc());
  EXPECT_EQ(memory.code(), ExitCode::Io);
  EXPECT_TRUE(std::string(memory.what()).starts_with("out of memory; the limit that counts is ")) << memory.what();
  const Error thread = as_error(std::system_error(EAGAIN, std::generic_category()));
  EXPECT_EQ(thread.code(), ExitCode::Io);
  EXPECT_NE(thread.hint().find("ulimit -u"), std::string::npos);
  EXPECT_EQ(as_error(Error(ExitCode::Data, "damaged")).code(), ExitCode::Data);
  EXPECT_EQ(as_error(std::logic_error("nobody expected it")).code(), ExitCode::Internal);
}

TEST(View, RowsAndSlicesPointIntoTheSameMemory) {
  std::vector<float> numbers(24);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  const View<float> view(numbers.data(), {2, 3, 4});
  EXPECT_EQ(view.at(1).shape(), (Shape{3, 4}));
  EXPECT_EQ(view.at(1).data()[0], 12);
  EXPECT_EQ(view.at(1).rows(1, 2).data()[3], 19);
  EXPECT_EQ(view.reshaped({6, 4}).rows(5, 1).data(), numbers.data() + 20);
  const View<> erased = view;
  EXPECT_EQ(erased.at(1).at(2).as<float>(), numbers.data() + 20);
  EXPECT_EQ(erased.bytes(), 96);
}

TEST(View, RefusesWrongTypesRowsAndShapes) {
  std::vector<float> numbers(6);
  const View<> view(numbers.data(), DType::F32, {2, 3});
  EXPECT_THROW(view.as<double>(), ShapeError);
  EXPECT_THROW(view.rows(1, 2), ShapeError);
  EXPECT_THROW(view.rows(-1, 1), ShapeError);
  EXPECT_THROW(view.reshaped({7}), ShapeError);
  EXPECT_FALSE(View<>());
  EXPECT_EQ(View<>().size(), 0);
}

TEST(View, KeepsItsSpace) {
  std::vector<float> numbers(24);
  for (const Space space : {Space::Host, Space::Pinned, Space::Device}) {
    const View<float> view(numbers.data(), {2, 3, 4}, space);
    const View<> erased = view;
    const ConstView<> read_only = erased;
    for (const ConstView<> seen : {ConstView<>(view.rows(1, 1)), ConstView<>(view.at(1)), ConstView<>(view.first({5})),
                                   ConstView<>(view.reshaped({6, 4})), read_only.at(0).rows(1, 2),
                                   read_only.reinterpreted(DType::U8, {96}), ConstView<>(erased.at(1).at(2))}) {
      EXPECT_EQ(seen.space(), space) << seen.text();
      EXPECT_EQ(seen.text().ends_with("on the device"), space == Space::Device) << seen.text();
    }
    if (space == Space::Device) {
      EXPECT_THROW(erased.at(1).as<float>(), ShapeError);
      EXPECT_THROW(erased.at(1).host_bytes(), ShapeError);
    } else {
      EXPECT_EQ(erased.at(1).as<float>(), numbers.data() + 12);
      EXPECT_EQ(erased.at(1).host_bytes().data(), std::as_writable_bytes(std::span(numbers)).data() + 48);
      EXPECT_EQ(read_only.at(1).host_bytes().size(), 48);
    }
  }
}

TEST(Bf16, RoundsToTheNearestAndToEvenOnATie) {
  const auto bits = [](float x) { return Bf16(x).bits; };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(bits(1), 0x3f80);
  EXPECT_EQ(bits(1 + 0x1p-8f), 0x3f80) << "a tie, down to the even number";
  EXPECT_EQ(bits(1 + 3 * 0x1p-8f), 0x3f82) << "a tie, up to the even number";
  EXPECT_EQ(bits(1 + 0x1p-8f + 0x1p-23f), 0x3f81);
  EXPECT_EQ(bits(1 + 3 * 0x1p-8f - 0x1p-23f), 0x3f81);
  EXPECT_EQ(bits(-0.0f), 0x8000);
  EXPECT_EQ(Bf16(std::numeric_limits<float>::max()).value(), kInfinity);
  EXPECT_EQ(Bf16(-kInfinity).value(), -kInfinity);
}

TEST(Bf16, NaNStaysNaN) {
  // The payload of the second lies in the half that is dropped: without care it would become an infinity; that of the
  // third would be carried through the sign.
  for (const uint32_t nan : {0x7fc00000u, 0x7f800001u, 0x7fffffffu, 0xff80ffffu})
    EXPECT_TRUE(std::isnan(Bf16(__builtin_bit_cast(float, nan)).value())) << nan;
}

TEST(Readback, OnTheCpuIsAPlainCopy) {
  const Queue queue;
  std::vector<double> numbers{1, 2, 3};
  const View<double> view(numbers.data(), {3});
  Readback<double> readback;
  readback.allocate(queue, 4);
  readback.start(queue, view);
  numbers[1] = 7;  // behind the copy
  const std::span<const double> read = readback.wait(queue);
  EXPECT_EQ(std::vector<double>(read.begin(), read.end()), (std::vector<double>{1, 2, 3}));

  std::vector<double> copy(3);
  copy_now(queue, View<double>(copy.data(), {3}), view);
  EXPECT_EQ(copy, numbers);
  EXPECT_THROW(copy_now(queue, View<double>(copy.data(), {1, 3}), view), ShapeError);
  EXPECT_EQ(queue.waits(), 0);
}

TEST(HostCopy, OfATensorOnTheHostIsTheTensor) {
  const Queue queue;
  std::vector<float> numbers{1, 2};
  const HostCopy copy(queue, View<float>(numbers.data(), {2}));
  EXPECT_EQ(copy.view().data(), numbers.data());
  copy.fetch(queue);
  copy.store(queue);
  EXPECT_EQ(numbers, (std::vector<float>{1, 2}));
}

TEST(Arena, MeasuringNeedsWhatTheRealOneUses) {
  auto carve = [](Arena& arena) {
    arena.take<float>({3, 5});
    {
      const ArenaScope scope(arena);
      arena.take<double>({100});
    }
    return arena.take<uint8_t>({65});
  };
  Arena measuring;
  EXPECT_FALSE(carve(measuring));
  Arena arena(measuring.peak());
  const View<uint8_t> last = carve(arena);
  EXPECT_EQ(arena.peak(), measuring.peak());
  EXPECT_EQ(arena.peak(), 256 + 1024);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(last.data()) % 256, 0u);
  EXPECT_THROW(arena.take<double>({1000}), Error);
}

struct CountingTraits {
  using Value = int;
  static int none() { return 0; }
  static void close(int value) noexcept { closed.push_back(value); }
  static inline std::vector<int> closed;
};

TEST(Handle, ClosesEachValueOnce) {
  CountingTraits::closed.clear();
  {
    Handle<CountingTraits> first(1), second(2);
    Handle<CountingTraits> moved = std::move(first);
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that it is empty is the claim
    second = std::move(moved);
    EXPECT_EQ(CountingTraits::closed, std::vector<int>{2});
    Handle<CountingTraits> released(3);
    EXPECT_EQ(released.release(), 3);
  }
  EXPECT_EQ(CountingTraits::closed, (std::vector<int>{2, 1}));
}

TEST(Parallel, EachIndexRunsExactlyOnceInContiguousRanges) {
  for (const int threads : {1, 2, 3, 8})
    for (const int64_t count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<size_t>(count));
      parallel_ranges(threads, count, [&](int64_t begin, int64_t end, int thread) {
        EXPECT_LT(thread, threads);
        EXPECT_LT(begin, end);
        for (int64_t i = begin; i < end; ++i) ++runs[static_cast<size_t>(i)];
      });
      for (int64_t i = 0; i < count; ++i)
        ASSERT_EQ(runs[static_cast<size_t>(i)], 1) << "index " << i << " of " << count << ", " << threads << " threads";
    }
}

TEST(Parallel, RangesDependOnCountAndThreadsOnly) {
  auto ranges = [] {
    std::vector<std::pair<int64_t, int64_t>> found(3);
    parallel_ranges(3, 10, [&](int64_t begin, int64_t end, int thread) {
      found[static_cast<size_t>(thread)] = {begin, end};
    });
    return found;
  };
  const auto first = ranges();
  EXPECT_EQ(first, (std::vector<std::pair<int64_t, int64_t>>{{0, 3}, {3, 6}, {6, 10}}));
  for (int again = 0; again < 20; ++again) EXPECT_EQ(ranges(), first);
}

TEST(Parallel, AnExceptionReachesTheCallerAndTheNextCallWorks) {
  for (const int threads : {1, 2, 4}) {
    EXPECT_THROW(parallel_for(threads, 100,
                              [](int64_t i) {
                                if (i == 77) throw Error(ExitCode::Numeric, "planted");
                              }),
                 Error);
    std::atomic<int64_t> sum{0};
    parallel_for(threads, 100, [&](int64_t i) { sum += i; });
    EXPECT_EQ(sum, 4950);
  }
}

TEST(Parallel, NestedCallsRunOnTheCallersThread) {
  std::atomic<int> inner{0};
  parallel_for(2, 2, [&](int64_t) {
    parallel_ranges(2, 10, [&](int64_t begin, int64_t end, int thread) {
      EXPECT_EQ(begin, 0);
      EXPECT_EQ(end, 10);
      EXPECT_EQ(thread, 0);
      ++inner;
    });
  });
  EXPECT_EQ(inner, 2);
}

TEST(Parallel, DenormalsAreZeroInEveryThread) {
  parallel_for(2, 2, [](int64_t) {
    volatile float tiny = std::numeric_limits<float>::min();
    EXPECT_EQ(tiny / 2, 0.0f);
  });
}

// The known answers of the Random123 distribution for philox4x32-10 (file kat_vectors).
TEST(Random, PhiloxGivesItsKnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox(0, {0, 0, 0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~uint64_t{0}, {~0u, ~0u, ~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, EveryPartOfTheKeyMatters) {
  std::set<uint64_t> seen;
  for (const uint64_t seed : {1, 2})
    for (const Purpose purpose : {Purpose::Init, Purpose::Test})
      for (const uint64_t step : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 40})
        for (const uint32_t sample : {0u, 1u})
          for (const uint32_t position : {0u, 1u}) seen.insert(Random(seed, purpose, step, sample).bits(position));
  EXPECT_EQ(seen.size(), 48u);
  EXPECT_EQ(Random(1, Purpose::Test, 2, 3).bits(4), Random(1, Purpose::Test, 2, 3).bits(4));
}

TEST(Random, MomentsAreThoseOfTheDistribution) {
  const Random random(5, Purpose::Test);
  constexpr uint32_t kCount = 100000;
  double uniform = 0, normal = 0, squares = 0;
  for (uint32_t i = 0; i < kCount; ++i) {
    const double u = random.uniform(i), x = random.normal(i);
    ASSERT_TRUE(u >= 0 && u < 1 && std::isfinite(x));
    ASSERT_LT(random.below(i, 7), 7u);
    uniform += u;
    normal += x;
    squares += x * x;
  }
  // Five standard errors.
  EXPECT_NEAR(uniform / kCount, 0.5, 5 * std::sqrt(1.0 / 12 / kCount));
  EXPECT_NEAR(normal / kCount, 0, 5 / std::sqrt(kCount));
  EXPECT_NEAR(squares / kCount, 1, 5 * std::sqrt(2.0 / kCount));
}

TEST(Random, PermutedIsAPermutationOfAnyCount) {
  for (const uint64_t count : {1, 2, 3, 5, 16, 17, 100, 255, 256, 257, 4099}) {
    std::vector<int> hits(count);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t place = permuted(i, count, 7, 3);
      ASSERT_LT(place, count);
      ++hits[place];
    }
    for (uint64_t i = 0; i < count; ++i) ASSERT_EQ(hits[i], 1) << "value " << i << " of " << count;
  }
}

TEST(Random, PermutedChangesWithSeedAndEpoch) {
  constexpr uint64_t kCount = 1000;
  int same_seed = 0, same_epoch = 0, in_place = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    same_seed += permuted(i, kCount, 1, 0) == permuted(i, kCount, 2, 0);
    same_epoch += permuted(i, kCount, 1, 0) == permuted(i, kCount, 1, 1);
    in_place += permuted(i, kCount, 1, 0) == i;
  }
  // One coincidence is expected of each.
  EXPECT_LT(same_seed, 10);
  EXPECT_LT(same_epoch, 10);
  EXPECT_LT(in_place, 10);
}

TEST(Text, NumbersAreGroupedAndBytesHaveUnits) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(-123456), "-123,456");
  EXPECT_EQ(grouped(1048112), "1,048,112");
  EXPECT_EQ(bytes_text(812), "812 B");
  EXPECT_EQ(bytes_text(999960), "1.0 MB");
  EXPECT_EQ(bytes_text(1e11), "100.0 GB");
}

}  // namespace
}  // namespace memring
