// The promises of a transport on any number of ranks: what arrives, in which order sums are made, chunks, errors.
// SPDX-License-Identifier: Apache-2.0
#include "dist/transport.h"
#include "base/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>

#include "dist/mesh_arithmetic.h"
#include "dist/schedule.h"
#include "place.h"
#include "ranks.h"

namespace memring {
namespace {

Queue queue = queue_under_test();

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
void expect_ring_sum(Transport& transport, std::span<const int64_t> bounds, const std::string& what) {
  const std::vector<T> expected = ring_sum<T>(bounds);
  std::vector<T> data = values_of<T>(world().rank(), bounds.back());
  const Placed there(queue, flat(data));
  transport.reduce_to_owners(queue, there, bounds).join(queue);
  there.fetch();
  const auto rank = static_cast<size_t>(world().rank());
  expect_same(data, expected, bounds[rank], bounds[rank + 1], what + ", own shard after reduce_to_owners");
  transport.all_gather_shards(queue, there, bounds).join(queue);
  there.fetch();
  expect_same(data, expected, 0, bounds.back(), what + ", all shards after all_gather_shards");
}

template <class T>
void expect_ring_sums(Transport& transport, const std::string& what) {
  for (const std::vector<int64_t>& bounds : ragged_bounds()) expect_ring_sum<T>(transport, bounds, what);
}

TEST(ReduceToOwners, SumsEachShardInRingOrder) {
  const auto transport = transport_under_test();
  expect_ring_sums<float>(*transport, "fp32");
  expect_ring_sums<double>(*transport, "fp64");
  expect_ring_sums<int64_t>(*transport, "int64");
}

// More pieces to a shard than may be in flight.
TEST(ReduceToOwners, SumsShardsOfManyPieces) {
  const std::vector<int64_t> bounds = even_bounds(4000007);
  expect_ring_sum<float>(*transport_under_test(), bounds, "fp32");
}

TEST(ReduceToOwners, ChunksDoNotChangeTheSum) {
  const auto transport = transport_under_test(1001);
  expect_ring_sums<float>(*transport, "fp32 in chunks");
  expect_ring_sums<double>(*transport, "fp64 in chunks");
}

TEST(ReduceToOwners, GivesTheSameBitsTwice) {
  const std::vector<int64_t> bounds = even_bounds(300007);
  const auto transport = transport_under_test();
  std::vector<float> once = values_of<float>(world().rank(), bounds.back()), again = once;
  for (std::vector<float>* data : {&once, &again}) {
    const Placed there(queue, flat(*data));
    transport->reduce_to_owners(queue, there, bounds).join(queue);
    there.fetch();
  }
  const auto rank = static_cast<size_t>(world().rank());
  expect_same(once, again, bounds[rank], bounds[rank + 1], "second run");
}

TEST(ReduceToOwners, RefusesBoundsThatAreNotShards) {
  const auto transport = transport_under_test();
  std::vector<float> data(10);
  std::vector<int64_t> short_of = even_bounds(9), unsorted = even_bounds(10), none;
  unsorted.front() = 3;
  const Placed there(queue, flat(data));
  EXPECT_THROW((void)transport->reduce_to_owners(queue, there, short_of), ShapeError);
  EXPECT_THROW((void)transport->reduce_to_owners(queue, there, unsorted), ShapeError);
  EXPECT_THROW((void)transport->all_gather_shards(queue, there, none), ShapeError);
}

// Those behind the first start when their turn has come, whichever is joined first.
TEST(ReduceToOwners, GoesOnOneBehindTheOther) {
  const auto transport = transport_under_test();
  const std::vector<int64_t> bounds = even_bounds(200003);
  const std::vector<float> expected = ring_sum<float>(bounds);
  std::vector<std::vector<float>> data(5, values_of<float>(world().rank(), bounds.back()));
  std::deque<Placed> there;
  std::vector<Transfer> sums;
  for (std::vector<float>& values : data)
    sums.push_back(transport->reduce_to_owners(queue, there.emplace_back(queue, flat(values)), bounds));
  for (const size_t joined : {size_t{2}, size_t{0}, size_t{4}, size_t{1}, size_t{3}}) {
    transport->progress();
    sums[joined].join(queue);
    sums[joined].join(queue);  // holds nothing
    there[joined].fetch();
    const auto rank = static_cast<size_t>(world().rank());
    expect_same(data[joined], expected, bounds[rank], bounds[rank + 1], fmt::format("sum {}", joined));
  }
}

template <class T>
void expect_all_reduce(const std::string& what) {
  const auto transport = transport_under_test();
  for (const int64_t count : {0, 1, 3, 1000, 150001}) {
    const bool gathered = count * static_cast<int64_t>(sizeof(T)) * world().size() <= 256 << 10;
    const std::vector<T> expected = gathered ? rank_order_sum<T>(count) : ring_sum<T>(even_bounds(count));
    std::vector<T> data = values_of<T>(world().rank(), count);
    const Placed there(queue, flat(data));
    transport->all_reduce_sum(queue, there);
    there.fetch();
    expect_same(data, expected, 0, count, what);
  }
}

TEST(AllReduce, SumsInTheDocumentedOrder) {
  expect_all_reduce<float>("fp32");
  expect_all_reduce<double>("fp64");
  expect_all_reduce<int64_t>("int64");
}

TEST(AllReduce, RefusesTypesWithoutASum) {
  const auto transport = transport_under_test();
  std::vector<int32_t> data(3);
  EXPECT_THROW(world().all_reduce_sum(flat(data)), ShapeError);
  const Placed there(queue, flat(data));
  EXPECT_THROW(transport->all_reduce_sum(queue, there), ShapeError);
  EXPECT_THROW((void)transport->reduce_to_owners(queue, there, even_bounds(3)), ShapeError);
}

// Every rank sends to every other before it receives anything; large messages need the receiver's help to move at all.
void expect_crossing(Transport& transport, int64_t count) {
  const int size = world().size(), rank = world().rank();
  std::vector<std::vector<float>> out, in(static_cast<size_t>(size), std::vector<float>(static_cast<size_t>(count)));
  std::deque<Placed> sent, received;
  std::vector<Transfer> transfers;
  for (int peer = 0; peer < size; ++peer) {
    sent.emplace_back(queue, flat(out.emplace_back(values_of<float>(rank * size + peer, count))));
    received.emplace_back(queue, flat(in[static_cast<size_t>(peer)]));
    if (peer != rank) transfers.push_back(transport.send(queue, sent.back().view(), peer, rank));
  }
  for (int peer = 0; peer < size; ++peer)
    if (peer != rank) transfers.push_back(transport.receive(queue, received[static_cast<size_t>(peer)], peer, peer));
  for (Transfer& transfer : transfers) transfer.join(queue);
  for (const Placed& numbers : received) numbers.fetch();
  for (int peer = 0; peer < size; ++peer)
    if (peer != rank)
      expect_same(in[static_cast<size_t>(peer)], values_of<float>(peer * size + rank, count), 0, count,
                  fmt::format("from rank {}", peer));
}

TEST(Messages, CrossWithoutDeadlock) {
  const auto transport = transport_under_test();
  for (const int64_t count : {0, 1, 1000, 1000003}) expect_crossing(*transport, count);
}

TEST(Messages, AreSentInChunks) {
  const auto transport = transport_under_test(1001);
  for (const int64_t count : {0, 1, 250, 251, 100003}) expect_crossing(*transport, count);
}

TEST(Messages, OfOneTagArriveInOrderAndTagsKeepApart) {
  if (world().size() < 2 || world().rank() > 1) return;
  const auto transport = transport_under_test();
  constexpr int kMessages = 20, kLastTag = kTags - 1;
  const int peer = 1 - world().rank();
  std::vector<std::vector<int64_t>> low(kMessages), high(kMessages);
  std::vector<Transfer> transfers;
  for (int64_t i = 0; i < kMessages; ++i) {
    low[size_t(i)].assign(5, i), high[size_t(i)].assign(3, 100 + i);
    if (world().rank() == 0) {
      transfers.push_back(transport->send(queue, flat(low[size_t(i)]), peer, 0));
      transfers.push_back(transport->send(queue, flat(high[size_t(i)]), peer, kLastTag));
    }
  }
  if (world().rank() == 1)
    for (const bool last : {true, false})
      for (size_t i = 0; i < kMessages; ++i) {
        std::vector<int64_t>& data = (last ? high : low)[i];
        data.assign(data.size(), -1);
        transfers.push_back(transport->receive(queue, flat(data), peer, last ? kLastTag : 0));
      }
  for (Transfer& transfer : transfers) transfer.join(queue);
  for (int64_t i = 0; i < kMessages; ++i) {
    EXPECT_EQ(low[size_t(i)], std::vector<int64_t>(5, i));
    EXPECT_EQ(high[size_t(i)], std::vector<int64_t>(3, 100 + i));
  }
}

// Rank 1 looks at its memory only, and never asks MPI whether the message is there.
TEST(Messages, MoveByProgressAlone) {
  if (world().size() < 2 || world().rank() > 1) return;
  const auto transport = transport_under_test();
  constexpr int64_t kCount = 500009;
  std::vector<int64_t> data(kCount, world().rank() == 0);
  if (world().rank() == 0) return transport->send(queue, flat(data), 1, 6).join(queue);
  Transfer received = transport->receive(queue, flat(data), 0, 6);
  const auto arrived = [&] { return static_cast<volatile const int64_t&>(data.back()) == 1; };
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       !arrived() && std::chrono::steady_clock::now() < end;)
    transport->progress();
  EXPECT_TRUE(arrived()) << "nothing came in 20 s";
  received.join(queue);
}

TEST(Messages, LeftUnfinishedByAnExceptionDoNotBlock) {
  if (world().size() < 2) return;
  const auto transport = transport_under_test();
  static std::vector<float> in(4);  // the transport may write to it after the request is gone
  const int right = (world().rank() + 1) % world().size(),
            left = (world().rank() + world().size() - 1) % world().size();
  try {
    const Transfer never = transport->receive(queue, flat(in), left, 11);
    throw Error(ExitCode::Data, "found something");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Data);
  }
  transport->progress();
  // Its receive is still posted, so one message belongs to it.
  std::vector<float> out(4, 1.0f);
  transport->send(queue, flat(out), right, 11).join(queue);
  world().barrier();
}

// The message of an error has to tell who talked to whom about how much.
void expect_size_error(int64_t sent, int64_t expected) {
  if (world().size() < 2 || world().rank() > 1) return;
  const auto transport = transport_under_test();
  std::vector<float> data(100);
  if (world().rank() == 0) return transport->send(queue, View<float>(data.data(), {sent}), 1, 4).join(queue);
  try {
    transport->receive(queue, View<float>(data.data(), {expected}), 0, 4).join(queue);
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
  const auto transport = transport_under_test();
  std::vector<float> data(2);
  const int size = world().size();
  EXPECT_THROW((void)transport->send(queue, flat(data), world().rank(), 0), ShapeError);
  EXPECT_THROW((void)transport->send(queue, flat(data), size, 0), ShapeError);
  EXPECT_THROW((void)transport->receive(queue, flat(data), -1, 0), ShapeError);
  const int peer = (world().rank() + 1) % size;
  EXPECT_THROW((void)transport->receive(queue, flat(data), peer, kTags), ShapeError);
  EXPECT_THROW((void)transport->send(queue, flat(data), peer, -1), ShapeError);
}

}  // namespace
}  // namespace memring
