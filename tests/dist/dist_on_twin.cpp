// Tensors on the twin of a device: what goes through the staged transport, and the blocks that it takes for that.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/twin/device.h"
#include "place.h"

namespace memring {

Queue queue_under_test(int threads) {
  static const std::unique_ptr<Device> device = open_device(0);
  return Queue({.backend = Backend::Cuda, .threads = threads, .device = device.get()});
}

namespace {

Queue queue = queue_under_test();

/// Rank 1 of 3 as its host's transport would see it: notes what it is handed, and says what has arrived.
class Recorder final : public Transport {
 public:
  static constexpr float kArrived = 100;

  Recorder() : Transport(1, 3) {}
  Transfer send(Queue&, ConstView<> data, int, int) override { return noted(data); }
  Transfer receive(Queue&, View<> data, int, int) override { return arrived(data); }
  void all_reduce_sum(Queue&, View<> data) override { (void)arrived(data); }
  Transfer reduce_to_owners(Queue&, View<> data, std::span<const int64_t>) override { return arrived(data); }
  Transfer all_gather_shards(Queue&, View<> data, std::span<const int64_t>) override { return arrived(data); }
  void progress() override {}

  std::vector<ConstView<>> handed;
  std::vector<float> numbers;  ///< of the last

 private:
  Transfer noted(ConstView<> data) {
    handed.push_back(data);
    numbers.clear();
    if (data.space() != Space::Device) numbers.assign(data.as<float>(), data.as<float>() + data.size());
    return Transfer(std::make_unique<Nothing>());
  }
  Transfer arrived(View<> data) {
    Transfer transfer = noted(data);
    if (data.space() != Space::Device) std::fill_n(data.as<float>(), data.size(), kArrived);
    return transfer;
  }
  struct Nothing : Transfer::UnderWay {
    void join(Queue&) override {}
  };
};

struct Staged {
  std::unique_ptr<Recorder> made = std::make_unique<Recorder>();
  Recorder& host = *made;
  std::unique_ptr<Transport> transport = staged_transport(std::move(made));
};

constexpr float kArrived = Recorder::kArrived;

TEST(StagedTransport, BringsBackOfASumTheOwnShardAlone) {
  Staged staged;
  std::vector<float> data{1, 2, 3, 4, 5, 6};
  const Placed there(queue, flat(data));
  for (const auto& [bounds, expected] :
       {std::pair{std::vector<int64_t>{0, 2, 5, 6}, std::vector<float>{1, 2, kArrived, kArrived, kArrived, 6}},
        {{0, 6, 6, 6}, {1, 2, kArrived, kArrived, kArrived, 6}}}) {
    staged.transport->reduce_to_owners(queue, there, bounds).join(queue);
    EXPECT_EQ(staged.host.numbers.front(), 1) << "the others' addends";
    there.fetch();
    EXPECT_EQ(data, expected);
  }
}

TEST(StagedTransport, TakesOfAGatherTheOwnShardAloneAndBringsBackTheRest) {
  for (const auto& [bounds, taken, expected] :
       {std::tuple{std::vector<int64_t>{0, 1, 3, 4}, std::vector<float>{0, 2, 3, 0},
                   std::vector<float>{kArrived, 2, 3, kArrived}},
        {{0, 0, 0, 4}, {0, 0, 0, 0}, std::vector<float>(4, kArrived)},
        {{0, 0, 4, 4}, {1, 2, 3, 4}, {1, 2, 3, 4}}}) {
    Staged staged;  // its first block is full of zeros
    std::vector<float> data{1, 2, 3, 4};
    const Placed there(queue, flat(data));
    staged.transport->all_gather_shards(queue, there, bounds).join(queue);
    EXPECT_EQ(staged.host.numbers, taken);
    there.fetch();
    EXPECT_EQ(data, expected);
  }
}

// Of another size than its contract allows, as everywhere.
TEST(StagedTransport, LooksAtBoundsBeforeItCopies) {
  Staged staged;
  std::vector<float> data(4);
  const Placed there(queue, flat(data));
  const std::vector<int64_t> none, beyond{0, 1, 9, 4};
  EXPECT_THROW((void)staged.transport->all_gather_shards(queue, there, none), ShapeError);
  EXPECT_THROW((void)staged.transport->reduce_to_owners(queue, there, beyond), ShapeError);
  EXPECT_TRUE(staged.host.handed.empty());
}

TEST(StagedTransport, TakesNoBlockForNothing) {
  Staged staged;
  std::vector<float> data;
  const Placed there(queue, flat(data));
  const std::vector<int64_t> bounds(4, 0);
  staged.transport->send(queue, there.view(), 0, 0).join(queue);
  staged.transport->receive(queue, there, 0, 0).join(queue);
  staged.transport->all_reduce_sum(queue, there);
  staged.transport->reduce_to_owners(queue, there, bounds).join(queue);
  staged.transport->all_gather_shards(queue, there, bounds).join(queue);
  ASSERT_EQ(staged.host.handed.size(), 5) << "its peer waits for the empty message";
  for (const ConstView<>& handed : staged.host.handed) EXPECT_EQ(handed.data(), there.view().data());
}

TEST(StagedTransport, UsesABlockAgainWhenItsTransferIsOver) {
  Staged staged;
  std::vector<float> first{1, 2, 3}, second{4, 5, 6}, shorter{7};
  const Placed a(queue, flat(first)), b(queue, flat(second)), c(queue, flat(shorter));
  const std::vector<ConstView<>>& handed = staged.host.handed;
  Transfer under_way = staged.transport->receive(queue, a, 0, 0);
  staged.transport->send(queue, b.view(), 0, 0).join(queue);
  EXPECT_NE(handed[1].data(), handed[0].data());
  under_way.join(queue);
  // What has arrived there is still on its way to the device.
  staged.transport->send(queue, c.view(), 0, 0).join(queue);
  EXPECT_TRUE(handed[2].data() == handed[0].data() || handed[2].data() == handed[1].data());
  EXPECT_EQ(staged.host.numbers, shorter);
  { const Transfer given_up = staged.transport->send(queue, b.view(), 0, 0); }
  { const Transfer given_up = staged.transport->receive(queue, c, 0, 0); }
  Transfer one = staged.transport->send(queue, b.view(), 0, 0), other = staged.transport->send(queue, a.view(), 0, 0);
  for (size_t i = 2; i < handed.size(); ++i)
    EXPECT_TRUE(handed[i].data() == handed[0].data() || handed[i].data() == handed[1].data()) << i;
  EXPECT_EQ(staged.host.numbers, std::vector<float>(3, kArrived));
  one.join(queue);
  other.join(queue);
  c.fetch();
  EXPECT_EQ(shorter, std::vector<float>({7})) << "given up";
}

TEST(HostCopy, FetchesTheNumbersOfADevice) {
  std::vector<float> data{1, 2, 3, 4};
  const Placed there(queue, flat(data));
  const HostCopy copy(queue, there);
  copy.fetch(queue);
  EXPECT_EQ(std::vector<float>(copy.view().as<float>(), copy.view().as<float>() + 4), data);
}

}  // namespace
}  // namespace memring
