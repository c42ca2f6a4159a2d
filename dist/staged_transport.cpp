// Tensors on a device, by way of pinned host memory and a transport of that. What is on the host goes straight there.
// SPDX-License-Identifier: Apache-2.0
#include <exception>
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
    if (needs_no_stage(data)) return host_->send(queue, data, peer, tag);
    const Staged staged = take(queue, data);
    copy_now(queue, staged.view, data);
    return under_way(staged, {}, host_->send(queue, staged.view, peer, tag));
  }
  Transfer receive(Queue& queue, View<> data, int peer, int tag) override {
    if (needs_no_stage(data)) return host_->receive(queue, data, peer, tag);
    const Staged staged = take(queue, data);
    return under_way(staged, {{data, staged.view}}, host_->receive(queue, staged.view, peer, tag));
  }
  void all_reduce_sum(Queue& queue, View<> data) override {
    if (needs_no_stage(data)) return host_->all_reduce_sum(queue, data);
    const Staged staged = take(queue, data);
    copy_now(queue, staged.view, data);
    host_->all_reduce_sum(queue, staged.view);
    give(queue, staged, {{data, staged.view}});
  }
  Transfer reduce_to_owners(Queue& queue, View<> data, std::span<const int64_t> bounds) override {
    if (needs_no_stage(data)) return host_->reduce_to_owners(queue, data, bounds);
    const Range own = shard(data, bounds);
    const Staged staged = take(queue, data);
    copy_now(queue, staged.view, data);
    return under_way(staged, {part(data, staged, own)}, host_->reduce_to_owners(queue, staged.view, bounds));
  }
  Transfer all_gather_shards(Queue& queue, View<> data, std::span<const int64_t> bounds) override {
    if (needs_no_stage(data)) return host_->all_gather_shards(queue, data, bounds);
    const Range own = shard(data, bounds);
    const Staged staged = take(queue, data);
    const Copy mine = part(data, staged, own);
    copy_now(queue, mine.from, mine.to);
    return under_way(staged, {part(data, staged, {0, own.begin}), part(data, staged, {own.end, data.size()})},
                     host_->all_gather_shards(queue, staged.view, bounds));
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
  /// Of what has arrived in a block.
  struct Copy {
    View<> to, from;
  };
  using Copies = std::vector<Copy>;

  /// Behind the host's transfer the numbers go to where they belong.
  class Arriving final : public Transfer::UnderWay {
   public:
    Arriving(Staged staged, Copies copies, Transfer host)
        : staged_(staged), copies_(std::move(copies)), host_(std::move(host)) {}
    ~Arriving() override {
      host_ = {};
      // (While an exception unwinds the host's transfer has not been waited for: MPI may write to the block.)
      if (std::uncaught_exceptions() == 0) staged_.block->taken = false;
    }
    Arriving(const Arriving&) = delete;
    Arriving& operator=(const Arriving&) = delete;
    void join(Queue& queue) override {
      host_.join(queue);
      give(queue, staged_, copies_);
    }

   private:
    Staged staged_;
    Copies copies_;
    Transfer host_;
  };

  /// What is on the host, and what no rank sends anything of: only its contract is looked at.
  bool needs_no_stage(ConstView<> data) const {
    return data.space() != Space::Device || data.bytes() == 0 || size() == 1;
  }
  /// This rank's.
  Range shard(ConstView<> data, std::span<const int64_t> bounds) const {
    check_bounds(data, bounds);
    return {bounds[static_cast<size_t>(rank())], bounds[static_cast<size_t>(rank()) + 1]};
  }
  static Copy part(View<> data, Staged staged, Range range) {
    const Shape all{data.size()};
    return {data.reshaped(all).rows(range.begin, range.size()),
            staged.view.reshaped(all).rows(range.begin, range.size())};
  }

  static Transfer under_way(Staged staged, Copies copies, Transfer host) {
    return Transfer(std::make_unique<Arriving>(staged, std::move(copies), std::move(host)));
  }
  /// The smallest block that is free and large enough. In the first steps the largest free one grows, or there is a new
  /// one: so there are as many as are taken at the same time.
  Staged take(const Queue& queue, ConstView<> data) {
    Block *best = nullptr, *largest = nullptr;
    for (const auto& block : blocks_) {
      if (block->taken) continue;
      if (block->bytes >= data.bytes() && (!best || block->bytes < best->bytes)) best = block.get();
      if (!largest || block->bytes > largest->bytes) largest = block.get();
    }
    if (!best && !largest) largest = blocks_.emplace_back(std::make_unique<Block>()).get();
    if (!best) best = largest;
    queue.finish(best->copied);
    if (best->bytes < data.bytes()) {
      best->memory = Arena();  // what it had first
      best->memory = queue.staging(data.bytes());
      best->bytes = data.bytes();
    }
    best->taken = true;
    best->memory.rewind(0);
    return {best, best->memory.take(data.dtype(), data.shape())};
  }
  static void give(const Queue& queue, Staged staged, const Copies& copies) {
    for (const Copy& copy : copies) copy_later(queue, copy.to, copy.from);
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
