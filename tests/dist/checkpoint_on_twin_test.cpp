// A checkpoint of what is on a device: only the shard comes to the host, and the file is that of a run on the CPU.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "checkpoint_run.h"
#include "place.h"

namespace memring {
namespace {

/// The twin, which counts the pinned memory taken and the bytes that come to the host.
class Counting final : public Device {
 public:
  const DeviceFacts& facts() const override { return twin_->facts(); }
  std::byte* take(int64_t bytes, Space space) override {
    if (space == Space::Pinned) pinned += bytes;
    return twin_->take(bytes, space);
  }
  void give(std::byte* block, Space space) noexcept override { twin_->give(block, space); }
  Stream stream(Priority priority) override { return twin_->stream(priority); }
  void copy(Stream stream, View<> to, ConstView<> from) override {
    if (to.space() != Space::Device) to_host += from.bytes();
    twin_->copy(stream, to, from);
  }
  void fill(Stream stream, View<> view, uint8_t byte) override { twin_->fill(stream, view, byte); }
  Event record(Stream stream) override { return twin_->record(stream); }
  void wait(Stream stream, Event event) override { twin_->wait(stream, event); }
  bool done(Event event) override { return twin_->done(event); }

  int64_t pinned = 0, to_host = 0;

 private:
  std::unique_ptr<Device> twin_ = open_device(0);
};

TEST(CheckpointOfADevice, BringsTheShardAloneToTheHostAndHasTheFileOfTheCpu) {
  const SharedFolder folder;
  const std::string of_host = folder.path() + "/host", of_device = folder.path() + "/device";
  Trained<float> trained(world(), mixed_layout(), 1);
  {
    CheckpointWriter writer(host_queue(), world(), of_host, {}, trained.data);
    writer.save(trained.data, test_info(world().size()));
    writer.finish();
  }
  Counting device;
  const Queue queue({.backend = Backend::Cuda, .device = &device});
  {
    const Placed weights(queue, trained.data.weights), m(queue, trained.data.m), v(queue, trained.data.v);
    CheckpointData there = trained.data;
    there.weights = weights;
    there.m = m;
    there.v = v;
    CheckpointWriter writer(queue, world(), of_device, {}, there);
    writer.save(there, test_info(world().size()));
    writer.finish();
    EXPECT_EQ(device.pinned, CheckpointWriter::buffer_bytes(there)) << "what the plan counts";
    EXPECT_EQ(device.to_host, 3 * there.shard.size() * bytes_of(DType::F32));
  }
  on_rank_0([&] {
    const std::string state = fmt::format("/{}/{}", checkpoint_name(1), kStateFile);
    EXPECT_TRUE(text_of(of_host + state) == text_of(of_device + state)) << "the bytes of the files differ";
    EXPECT_GT(text_of(of_device + state).size(), 3 * static_cast<size_t>(trained.data.weights.bytes()));
  });
}

}  // namespace
}  // namespace memring
