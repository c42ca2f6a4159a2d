// The transport of tensors in host memory. Sums whose order must be fixed, and all large ones, go round our own ring.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <deque>
#include <thread>

#include "base/error.h"
#include "base/profile.h"
#include "dist/mesh_arithmetic.h"
#include "dist/ring_transfer.h"
#include "dist/schedule.h"
#include "dist/transport.h"

namespace memring {
namespace {

using mpi::Add, mpi::RingTransfer, mpi::add_of;

constexpr int64_t kGatherBytes = 256 << 10;  // over all ranks: below, one all-gather beats the ring's 2 (n - 1) hops

void check_tag(int tag) {
  if (tag < 0 || tag >= kTags) throw ShapeError(fmt::format("tag {} is not in 0..{}", tag, kTags - 1));
}

/// What is sent of `data`, or arrives there, on the host; what holds nothing may be anywhere.
template <class T>
auto* message_of(View<T> data) {
  return data.bytes() > 0 ? data.host_bytes().data() : nullptr;
}

class MpiTransport final : public Transport {
 public:
  MpiTransport(const Communicator& group, int64_t message_bytes)
      : Transport(group.rank(), group.size()), group_(group), messages_(group.group(), message_bytes) {}

  Transfer send(Queue&, ConstView<> data, int peer, int tag) override {
    check_tag(tag);
    return Transfer(messages_.send(message_of(data), data.bytes(), peer, tag));
  }
  Transfer receive(Queue&, View<> data, int peer, int tag) override {
    check_tag(tag);
    return Transfer(messages_.receive(message_of(data), data.bytes(), peer, tag));
  }

  void all_reduce_sum(Queue& queue, View<> data) override {
    if (data.bytes() * size() <= std::min(kGatherBytes, messages_.most_bytes() * size())) {
      const Timed timed(queue, "waiting for a rank", 0);
      return group_.all_reduce_sum(data);
    }
    std::vector<int64_t> bounds{0};
    for (int r = 0; r < size(); ++r) bounds.push_back(part_of(data.size(), size(), r).end);
    reduce_to_owners(queue, data, bounds).join(queue);
    all_gather_shards(queue, data, bounds).join(queue);
  }
  Transfer reduce_to_owners(Queue&, View<> data, std::span<const int64_t> bounds) override {
    const Add add = add_of(data.dtype());
    return around_the_ring(data, bounds, rank() - 1, add);
  }
  Transfer all_gather_shards(Queue&, View<> data, std::span<const int64_t> bounds) override {
    return around_the_ring(data, bounds, rank(), nullptr);
  }

  void progress() override {
    advance_rings();
    messages_.progress();
  }

 private:
  /// One transfer round the ring, when its turn has come.
  class Turn final : public Transfer::UnderWay {
   public:
    Turn(MpiTransport& transport, View<> data, std::span<const int64_t> bounds, int first, Add add)
        : transport_(transport),
          ring_(transport.messages_, transport.arrivals_, transport.size() > 1 ? message_of(data) : nullptr,
                bytes_of(data.dtype()), bounds, first, add) {
      transport_.turns_.push_back(this);
    }
    ~Turn() override { std::erase(transport_.turns_, this); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    bool advance() { return ring_.advance(); }
    void join(Queue& queue) override {
      const Timed timed(queue, "waiting for a rank", 0);
      const std::deque<Turn*>& turns = transport_.turns_;
      for (transport_.advance_rings(); std::find(turns.begin(), turns.end(), this) != turns.end();
           transport_.advance_rings())
        std::this_thread::yield();
    }

   private:
    MpiTransport& transport_;
    RingTransfer ring_;
  };

  Transfer around_the_ring(View<> data, std::span<const int64_t> bounds, int first, Add add) {
    check_bounds(data, bounds);
    if (size() == 1) return {};  // wherever the data is, it stays
    auto turn = std::make_unique<Turn>(*this, data, bounds, first, add);
    advance_rings();
    return Transfer(std::move(turn));
  }
  void advance_rings() {
    while (!turns_.empty() && turns_.front()->advance()) turns_.pop_front();
  }

  Communicator group_;
  mpi::InFlight messages_;
  std::deque<Turn*> turns_;          ///< the first is under way
  std::vector<std::byte> arrivals_;  ///< of its pieces
};

}  // namespace

std::unique_ptr<Transport> host_transport(const Communicator& group, int64_t message_bytes) {
  return std::make_unique<MpiTransport>(group, message_bytes);
}

}  // namespace memring
