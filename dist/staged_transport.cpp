// Tensors on a device, by way of pinned host memory and a transport of that. What is on the host goes straight there.
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "base/readback.h"
#include "dist/transport.h"

namespace memring {
namespace {

class StagedTransport final : public Transport {
 public:
  explicit StagedTransport(std::unique_ptr<Transport> host)
      : Transport(host->rank(), host->size()), host_(std::move(host)) {}

  Transfer send(Queue& queue, ConstView<> data, int peer, int tag) override {
    if (data.space() != Space::Device) return host_->send(queue, data, peer, tag);
    const Staged staged = take(queue, data);
    copy_now(queue, staged.view, data);
    return under_way(staged, {}, host_->send(queue, staged.view, peer, tag));
  }
  Transfer receive(Queue& queue, View<> data, int peer, int tag) override {
    if (data.space() != Space::Device) return host_->receive(queue, data, peer, tag);
    const Staged staged = take(queue, data);
    return under_way(staged, data, host_->receive(queue, staged.view, peer, tag));
  }
  void all_reduce_sum(Queue& queue, View<> data) override {
    if (data.space() == Space::Device && size() == 1) return;
    if (data.space() != Space::Device) return host_->all_reduce_sum(queue, data);
    const Staged staged = take(queue, data);
    copy_now(queue, staged.view, data);
    host_->all_reduce_sum(queue, staged.view);
    give(queue, staged, data);
  }
  Transfer reduce_to_owners(Queue& queue, View<> data, std::span<const int64_t> bounds) override {
    if (data.space() == Space::Device && size() == 1) return {};
    if (data.space() != Space::Device) return host_->reduce_to_owners(queue, data, bounds);
    const Staged staged = take(queue, data);
    copy_now(queue, staged.view, data);
    return under_way(staged, data, host_->reduce_to_owners(queue, staged.view, bounds));
  }
  Transfer all_gather_shards(Queue& queue, View<> data, std::span<const int64_t> bounds) override {
    if (data.space() == Space::Device && size() == 1) return {};
    if (data.space() != Space::Device) return host_->all_gather_shards(queue, data, bounds);
    const Staged staged = take(queue, data);
    copy_now(queue, staged.view, data);
    return under_way(staged, data, host_->all_gather_shards(queue, staged.view, bounds));
  }
  void progress() override { host_->progress(); }

 private:
  struct Block {
    Arena memory;
    int64_t bytes = 0;
    bool taken = false;
    Event copied;  ///< out of it, to the device
  };
  struct Staged {
    Block* block = nullptr;
    View<> view;
  };

  /// Behind the host's transfer the numbers go to where they belong.
  class Arriving final : public Transfer::UnderWay {
   public:
    Arriving(StagedTransport& transport, Staged staged, View<> data, Transfer host)
        : transport_(transport), staged_(staged), data_(data), host_(std::move(host)) {}
    void join(Queue& queue) override {
      host_.join(queue);
      transport_.give(queue, staged_, data_);
    }

   private:
    StagedTransport& transport_;
    Staged staged_;
    View<> data_;
    Transfer host_;
  };

  /// `data`: empty where nothing comes back.
  Transfer under_way(Staged staged, View<> data, Transfer host) {
    return Transfer(std::make_unique<Arriving>(*this, staged, data, std::move(host)));
  }
  /// The smallest block that is free and large enough; a new one in the first steps.
  Staged take(const Queue& queue, ConstView<> data) {
    Block* best = nullptr;
    for (const auto& block : blocks_)
      if (!block->taken && block->bytes >= data.bytes() && (!best || block->bytes < best->bytes)) best = block.get();
    if (!best) {
      best = blocks_.emplace_back(std::make_unique<Block>()).get();
      best->bytes = data.bytes();
      best->memory = queue.staging(best->bytes);
    }
    queue.finish(best->copied);
    best->taken = true;
    best->memory.rewind(0);
    return {best, best->memory.take(data.dtype(), data.shape())};
  }
  void give(const Queue& queue, Staged staged, View<> data) {
    if (data) copy_later(queue, data, staged.view);
    staged.block->copied = queue.record();
    staged.block->taken = false;
  }

  std::unique_ptr<Transport> host_;
  std::vector<std::unique_ptr<Block>> blocks_;
};

}  // namespace

std::unique_ptr<Transport> staged_transport(std::unique_ptr<Transport> host) {
  return std::make_unique<StagedTransport>(std::move(host));
}

}  // namespace memring
