// The communicator's promises on any number of ranks: what arrives, in which order sums are made, chunks, errors.
// SPDX-License-Identifier: Apache-2.0
#include "dist/communicator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "dist/mesh.h"
#include "ranks.h"

namespace memring {
namespace {

// Shard r of the ring: ((x[r+1] + x[r+2]) + ...) + x[r].
template <class T>
std::vector<T> ring_sum(std::span<const int64_t> bounds) {
  const int size = world().size();
  std::vector<T> sum(static_cast<size_t>(bounds.back()));
  for (int shard = 0; shard < size; ++shard)
    for (int64_t i = bounds[static_cast<size_t>(shard)]; i < bounds[static_cast<size_t>(shard) + 1]; ++i) {
      T total = value_of<T>((shard + 1) % size, i);
      for (int step = 2; step <= size; ++step) total += value_of<T>((shard + step) % size, i);
      sum[static_cast<size_t>(i)] = total;
    }
  return sum;
}

template <class T>
std::vector<T> rank_order_sum(int64_t count) {
  std::vector<T> sum = values_of<T>(0, count);
  for (int rank = 1; rank < world().size(); ++rank)
    for (int64_t i = 0; i < count; ++i) sum[static_cast<size_t>(i)] += value_of<T>(rank, i);
  return sum;
}

std::vector<int64_t> even_bounds(int64_t count) {
  std::vector<int64_t> bounds{0};
  for (int rank = 0; rank < world().size(); ++rank) bounds.push_back(part_of(count, world().size(), rank).end);
  return bounds;
}

// Even, one shard only, alternating empty shards, growing shards; none at all, fewer elements than ranks; many pieces.
std::vector<std::vector<int64_t>> ragged_bounds() {
  const auto size = static_cast<size_t>(world().size());
  std::vector<std::vector<int64_t>> cases;
  for (const int64_t count : {0, 1, 2, 3, 17, 1000, 70001}) cases.push_back(even_bounds(count));
  for (size_t owner = 0; owner < size; ++owner) {
    std::vector<int64_t> bounds(size + 1, 0);
    std::fill(bounds.begin() + static_cast<std::ptrdiff_t>(owner) + 1, bounds.end(), 70001);
    cases.push_back(bounds);
  }
  std::vector<int64_t> alternating{0}, growing{0};
  for (size_t rank = 0; rank < size; ++rank) {
    alternating.push_back(alternating.back() + (rank % 2 ? 0 : 65536));
    growing.push_back(growing.back() + static_cast<int64_t>(rank * rank * 10007));
  }
  cases.push_back(alternating);
  cases.push_back(growing);
  return cases;
}

template <class T>
void expect_ring_sum(std::span<const int64_t> bounds, const std::string& what) {
  const std::vector<T> expected = ring_sum<T>(bounds);
  std::vector<T> data = values_of<T>(world().rank(), bounds.back());
  world().reduce_scatter_sum(flat(data), bounds);
  const auto rank = static_cast<size_t>(world().rank());
  expect_same(data, expected, bounds[rank], bounds[rank + 1], what + ", own shard after reduce_scatter_sum");
  world().all_gather_shards(flat(data), bounds);
  expect_same(data, expected, 0, bounds.back(), what + ", all shards after all_gather_shards");
}

template <class T>
void expect_ring_sums(const std::string& what) {
  for (const std::vector<int64_t>& bounds : ragged_bounds()) expect_ring_sum<T>(bounds, what);
}

TEST(ReduceScatter, SumsEachShardInRingOrder) {
  expect_ring_sums<float>("fp32");
  expect_ring_sums<double>("fp64");
  expect_ring_sums<int64_t>("int64");
}

// More pieces to a shard than may be in flight.
TEST(ReduceScatter, SumsShardsOfManyPieces) {
  const std::vector<int64_t> bounds = even_bounds(4000007);
  expect_ring_sum<float>(bounds, "fp32");
}

TEST(ReduceScatter, ChunksDoNotChangeTheSum) {
  const TinyMessages tiny(world(), 1001);
  expect_ring_sums<float>("fp32 in chunks");
  expect_ring_sums<double>("fp64 in chunks");
}

TEST(ReduceScatter, GivesTheSameBitsTwice) {
  const std::vector<int64_t> bounds = even_bounds(300007);
  std::vector<float> once = values_of<float>(world().rank(), bounds.back()), again = once;
  world().reduce_scatter_sum(flat(once), bounds);
  world().reduce_scatter_sum(flat(again), bounds);
  const auto rank = static_cast<size_t>(world().rank());
  expect_same(once, again, bounds[rank], bounds[rank + 1], "second run");
}

TEST(ReduceScatter, RefusesBoundsThatAreNotShards) {
  std::vector<float> data(10);
  std::vector<int64_t> short_of = even_bounds(9), unsorted = even_bounds(10), none;
  unsorted.front() = 3;
  EXPECT_THROW(world().reduce_scatter_sum(flat(data), short_of), ShapeError);
  EXPECT_THROW(world().reduce_scatter_sum(flat(data), unsorted), ShapeError);
  EXPECT_THROW(world().all_gather_shards(flat(data), none), ShapeError);
}

template <class T>
void expect_all_reduce(const std::string& what) {
  for (const int64_t count : {0, 1, 3, 1000, 150001}) {
    const bool gathered = count * static_cast<int64_t>(sizeof(T)) * world().size() <= 256 << 10;
    const std::vector<T> expected = gathered ? rank_order_sum<T>(count) : ring_sum<T>(even_bounds(count));
    std::vector<T> data = values_of<T>(world().rank(), count);
    world().all_reduce_sum(flat(data));
    expect_same(data, expected, 0, count, what);
  }
}

TEST(AllReduce, SumsInTheDocumentedOrder) {
  expect_all_reduce<float>("fp32");
  expect_all_reduce<double>("fp64");
  expect_all_reduce<int64_t>("int64");
}

TEST(AllReduce, RefusesTypesWithoutASum) {
  std::vector<int32_t> data(3);
  EXPECT_THROW(world().all_reduce_sum(flat(data)), ShapeError);
  EXPECT_THROW(world().reduce_scatter_sum(flat(data), even_bounds(3)), ShapeError);
}

TEST(AllReduce, FindsTheMaximum) {
  EXPECT_EQ(world().all_reduce_max(-5 - world().rank()), -5);
  EXPECT_EQ(world().all_reduce_max(int64_t{1} << 40 | world().rank()), int64_t{1} << 40 | (world().size() - 1));
}

void expect_all_gather() {
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

TEST(AllGather, PutsRowsInRankOrder) {
  expect_all_gather();
  const TinyMessages tiny(world(), 1001);
  expect_all_gather();
}

TEST(AllGather, RefusesAReceiverOfAnotherSize) {
  std::vector<float> mine(3), all(static_cast<size_t>(3 * world().size() + 1));
  EXPECT_THROW(world().all_gather(flat(all), flat(mine)), ShapeError);
}

TEST(Broadcast, ReachesEveryRankFromEveryRoot) {
  for (const int64_t limit : {int64_t{1} << 30, int64_t{1001}}) {
    const TinyMessages tiny(world(), limit);
    for (int root = 0; root < world().size(); ++root)
      for (const int64_t count : {0, 1, 50021}) {
        std::vector<int64_t> data = values_of<int64_t>(world().rank(), count);
        world().broadcast(flat(data), root);
        expect_same(data, values_of<int64_t>(root, count), 0, count, fmt::format("from rank {}", root));
      }
  }
}

// Every rank sends to every other before it receives anything; large messages need the receiver's help to move at all.
void expect_crossing(int64_t count) {
  const int size = world().size(), rank = world().rank();
  std::vector<std::vector<float>> out, in(static_cast<size_t>(size), std::vector<float>(static_cast<size_t>(count)));
  std::vector<Request> requests;
  for (int peer = 0; peer < size; ++peer) {
    out.push_back(values_of<float>(rank * size + peer, count));
    if (peer != rank) requests.push_back(world().send(flat(out.back()), peer, rank));
  }
  for (int peer = 0; peer < size; ++peer)
    if (peer != rank) requests.push_back(world().receive(flat(in[static_cast<size_t>(peer)]), peer, peer));
  for (Request& request : requests) request.wait();
  for (int peer = 0; peer < size; ++peer)
    if (peer != rank)
      expect_same(in[static_cast<size_t>(peer)], values_of<float>(peer * size + rank, count), 0, count,
                  fmt::format("from rank {}", peer));
}

TEST(Messages, CrossWithoutDeadlock) {
  for (const int64_t count : {0, 1, 1000, 1000003}) expect_crossing(count);
}

TEST(Messages, AreSentInChunks) {
  const TinyMessages tiny(world(), 1001);
  for (const int64_t count : {0, 1, 250, 251, 100003}) expect_crossing(count);
}

TEST(Messages, OfOneTagArriveInOrderAndTagsKeepApart) {
  if (world().size() < 2 || world().rank() > 1) return;
  constexpr int kMessages = 20, kLastTag = Communicator::kTags - 1;
  const int peer = 1 - world().rank();
  std::vector<std::vector<int64_t>> low(kMessages), high(kMessages);
  std::vector<Request> requests;
  for (int64_t i = 0; i < kMessages; ++i) {
    low[size_t(i)].assign(5, i), high[size_t(i)].assign(3, 100 + i);
    if (world().rank() == 0) {
      requests.push_back(world().send(flat(low[size_t(i)]), peer, 0));
      requests.push_back(world().send(flat(high[size_t(i)]), peer, kLastTag));
    }
  }
  if (world().rank() == 1)
    for (const bool last : {true, false})
      for (size_t i = 0; i < kMessages; ++i) {
        std::vector<int64_t>& data = (last ? high : low)[i];
        data.assign(data.size(), -1);
        requests.push_back(world().receive(flat(data), peer, last ? kLastTag : 0));
      }
  for (Request& request : requests) request.wait();
  for (int64_t i = 0; i < kMessages; ++i) {
    EXPECT_EQ(low[size_t(i)], std::vector<int64_t>(5, i));
    EXPECT_EQ(high[size_t(i)], std::vector<int64_t>(3, 100 + i));
  }
}

TEST(Messages, CompleteByProgressAndTestAlone) {
  if (world().size() < 2 || world().rank() > 1) return;
  constexpr int64_t kCount = 500009;
  std::vector<float> out = values_of<float>(world().rank(), kCount), in(kCount);
  Request sent = world().send(flat(out), 1 - world().rank(), 3);
  Request received = world().receive(flat(in), 1 - world().rank(), 3);
  for (int i = 0; i < 100; ++i) world().progress();
  while (!received.test()) world().progress();
  while (!sent.test()) world().progress();
  EXPECT_FALSE(received) << "a completed request holds nothing";
  EXPECT_TRUE(received.test());
  received.wait();
  expect_same(in, values_of<float>(1 - world().rank(), kCount), 0, kCount, "received by test()");
  world().progress();
}

// Rank 1 looks at its memory only, and never asks MPI whether the message is there.
TEST(Messages, MoveByProgressAlone) {
  if (world().size() < 2 || world().rank() > 1) return;
  constexpr int64_t kCount = 500009;
  std::vector<int64_t> data(kCount, world().rank() == 0);
  if (world().rank() == 0) return world().send(flat(data), 1, 6).wait();
  Request received = world().receive(flat(data), 0, 6);
  const auto arrived = [&] { return static_cast<volatile const int64_t&>(data.back()) == 1; };
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       !arrived() && std::chrono::steady_clock::now() < end;)
    world().progress();
  EXPECT_TRUE(arrived()) << "nothing came in 20 s";
  received.wait();
}

TEST(Messages, LeftUnfinishedByAnExceptionDoNotBlock) {
  if (world().size() < 2) return;
  static std::vector<float> in(4);  // the transport may write to it after the request is gone
  const int right = (world().rank() + 1) % world().size(),
            left = (world().rank() + world().size() - 1) % world().size();
  try {
    const Request never = world().receive(flat(in), left, 11);
    throw Error(ExitCode::Data, "found something");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Data);
  }
  world().progress();
  // Its receive is still posted, so one message belongs to it.
  std::vector<float> out(4, 1.0f);
  world().send(flat(out), right, 11).wait();
  world().barrier();
}

// The message of an error has to tell who talked to whom about how much.
void expect_size_error(int64_t sent, int64_t expected) {
  if (world().size() < 2 || world().rank() > 1) return;
  std::vector<float> data(100);
  if (world().rank() == 0) return world().send(View<float>(data.data(), {sent}), 1, 4).wait();
  try {
    world().receive(View<float>(data.data(), {expected}), 0, 4).wait();
    ADD_FAILURE() << "a message of " << sent << " floats was taken for one of " << expected;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Internal);
    const std::string text = error.what();
    for (const std::string& part :
         {std::string("receive of ") + std::to_string(4 * expected) + " bytes", std::string("peer rank 0"),
          std::string("rank 1 of "), std::string("\"world\""), session().host()})
      EXPECT_NE(text.find(part), std::string::npos) << "'" << part << "' is missing in: " << text;
  }
}

TEST(Messages, OfAnotherSizeAreAnError) {
  expect_size_error(100, 50);
  expect_size_error(50, 100);
  expect_size_error(0, 1);
}

TEST(Messages, RefuseAPeerOrTagOutsideTheGroup) {
  std::vector<float> data(2);
  const int size = world().size();
  EXPECT_THROW((void)world().send(flat(data), world().rank(), 0), ShapeError);
  EXPECT_THROW((void)world().send(flat(data), size, 0), ShapeError);
  EXPECT_THROW((void)world().receive(flat(data), -1, 0), ShapeError);
  const int peer = (world().rank() + 1) % size;
  EXPECT_THROW((void)world().receive(flat(data), peer, Communicator::kTags), ShapeError);
  EXPECT_THROW((void)world().send(flat(data), peer, -1), ShapeError);
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
