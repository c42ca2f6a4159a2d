// Host values on any number of ranks: what arrives, in which order sums are made, errors.
// SPDX-License-Identifier: Apache-2.0
#include "dist/communicator.h"
#include "base/error.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "ranks.h"

namespace memring {
namespace {

/// Seconds, of one clock for the ranks of a host.
double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class T>
void expect_sum_in_rank_order() {
  for (const int64_t count : {0, 1, 1000, 150001}) {
    std::vector<T> expected = values_of<T>(0, count), data = values_of<T>(world().rank(), count);
    for (int rank = 1; rank < world().size(); ++rank)
      for (int64_t i = 0; i < count; ++i) expected[static_cast<size_t>(i)] += value_of<T>(rank, i);
    world().all_reduce_sum(flat(data));
    expect_same(data, expected, 0, count, "sum of host values");
  }
}

TEST(HostSum, IsMadeInRankOrder) {
  expect_sum_in_rank_order<float>();
  expect_sum_in_rank_order<double>();
  expect_sum_in_rank_order<int64_t>();
}

TEST(HostSum, RefusesTypesWithoutASum) {
  std::vector<int32_t> data(3);
  EXPECT_THROW(world().all_reduce_sum(flat(data)), ShapeError);
}

TEST(HostMaximum, IsThatOfAllRanks) {
  EXPECT_EQ(world().all_reduce_max(-5 - world().rank()), -5);
  EXPECT_EQ(world().all_reduce_max(int64_t{1} << 40 | world().rank()), int64_t{1} << 40 | (world().size() - 1));
}

TEST(AllGather, PutsRowsInRankOrder) {
  for (const int64_t count : {0, 1, 5, 100001}) {
    const std::vector<double> mine = values_of<double>(world().rank(), count);
    std::vector<double> all(static_cast<size_t>(count * world().size())), expected;
    for (int rank = 0; rank < world().size(); ++rank) {
      const std::vector<double> row = values_of<double>(rank, count);
      expected.insert(expected.end(), row.begin(), row.end());
    }
    world().all_gather(View<double>(all.data(), {world().size(), count}), ConstView<double>(mine.data(), {count}));
    expect_same(all, expected, 0, count * world().size(), "all_gather");
  }
}

TEST(HostValues, AreNotReadFromADevice) {
  std::vector<float> numbers(3);
  const View<float> device(numbers.data(), {3}, Space::Device);
  if (world().size() > 1) {
    EXPECT_THROW(world().broadcast(device, 0), ShapeError);
    EXPECT_THROW(world().all_reduce_sum(device), ShapeError);
  }
  std::vector<float> all(static_cast<size_t>(3 * world().size()));
  EXPECT_THROW(world().all_gather(flat(all), device), ShapeError);
}

// (Sizes are looked at first: there is no such memory.)
TEST(HostValues, RefuseWhatIsATensorAndARootThatIsNone) {
  constexpr int64_t kTooMany = int64_t{1} << 29;  // 2 GiB
  const int size = world().size();
  const View<float> large(nullptr, {kTooMany}), of_all(nullptr, {size, kTooMany});
  EXPECT_THROW(world().broadcast(large, 0), ShapeError);
  EXPECT_THROW(world().all_reduce_sum(large), ShapeError);
  EXPECT_THROW(world().all_gather(of_all, large), ShapeError);
  std::vector<float> data(3);
  for (const int root : {-1, size}) EXPECT_THROW(world().broadcast(flat(data), root), ShapeError);
}

TEST(AllGather, RefusesAReceiverOfAnotherSize) {
  std::vector<float> mine(3), all(static_cast<size_t>(3 * world().size() + 1));
  EXPECT_THROW(world().all_gather(flat(all), flat(mine)), ShapeError);
}

TEST(Broadcast, ReachesEveryRankFromEveryRoot) {
  for (int root = 0; root < world().size(); ++root)
    for (const int64_t count : {0, 1, 50021}) {
      std::vector<int64_t> data = values_of<int64_t>(world().rank(), count);
      world().broadcast(flat(data), root);
      expect_same(data, values_of<int64_t>(root, count), 0, count, fmt::format("from rank {}", root));
    }
}

// Each rank is the last one once.
TEST(Barrier, WithNapsWaitsForTheLastRank) {
  for (int last = 0; last < world().size(); ++last) {
    std::vector<double> times(static_cast<size_t>(world().size()));
    world().barrier();
    if (world().rank() == last) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const double arrived = now();
    world().barrier(std::chrono::milliseconds(1));
    const double latest = now();
    EXPECT_GE(latest, arrived);
    world().all_gather(flat(times), ConstView<double>(&arrived, {1}));
    EXPECT_GE(latest, times[static_cast<size_t>(last)]) << "left before rank " << last << " came";
  }
}

TEST(Split, GroupsByColorAndOrdersByKey) {
  const int rank = world().rank(), size = world().size();
  Communicator parity = world().split(rank % 2, -rank, "segment");
  EXPECT_EQ(parity.name(), "segment");
  EXPECT_EQ(parity.size(), (size + 1 - rank % 2) / 2);
  EXPECT_EQ(parity.rank(), parity.size() - 1 - rank / 2);
  std::vector<int64_t> sum{rank};
  parity.all_reduce_sum(flat(sum));
  int64_t expected = 0;
  for (int other = rank % 2; other < size; other += 2) expected += other;
  EXPECT_EQ(sum.front(), expected);
  Communicator alone = parity.split(parity.rank(), 0, "data");
  EXPECT_EQ(alone.size(), 1);
  alone.barrier();
}

}  // namespace
}  // namespace memring
