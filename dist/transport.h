// Transport: tensors between the ranks of one group, in the order of a queue. (Host values stay with Communicator.) MPI
// carries those of host memory; another memory or library is another implementation.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/queue.h"
#include "dist/communicator.h"

namespace memring {

/// A message, sum or gather under way: its view is in use until it is joined. Must be joined before it is destroyed,
/// unless an exception unwinds, and its transport must outlive it. Destroyed unfinished, a message waits, or, while an
/// exception unwinds, leaves the transport alone; a sum or gather is given up, and the other ranks wait for it in vain.
class Transfer {
 public:
  /// What a transport knows of it.
  struct UnderWay {
    virtual ~UnderWay() = default;
    virtual void join(Queue&) = 0;
  };
  Transfer() = default;
  explicit Transfer(std::unique_ptr<UnderWay> under_way) : under_way_(std::move(under_way)) {}
  /// What is enqueued from now on sees it done; on the CPU the host waits. Returns at once when it holds nothing.
  void join(Queue& queue) {
    if (const auto joined = std::move(under_way_)) joined->join(queue);
  }

 private:
  std::unique_ptr<UnderWay> under_way_;
};

/// What was enqueued before a call is in what it sends, and nothing blocks but all_reduce_sum and, on the CPU, joining
/// (staged_transport: all calls). Every function throws Error(Internal) that names rank, host, operation, peer and size
/// when the transport fails, and ShapeError for views, bounds, peers or tags outside the contract. Only the main thread
/// may call these. Transports of the same group may not have messages in flight at the same time.
///
/// Sums of floating-point numbers have a fixed order: same mesh, same bits, and the same bits on every rank. Up to 256
/// KiB over all ranks all_reduce_sum adds in rank order, ((x0 + x1) + x2) + ...; beyond, and in reduce_to_owners, shard
/// r is added round the ring, ((x[r+1] + x[r+2]) + ...) + x[r] (ranks modulo size; part r of part_of() in
/// all_reduce_sum).
class Transport {
 public:
  virtual ~Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  int rank() const { return rank_; }
  int size() const { return size_; }

  /// Sender and receiver agree on the number of bytes; `peer` is another rank of this group. Messages of one pair and
  /// tag (0 to kTags - 1, dist/schedule.h) arrive in the order they were sent.
  [[nodiscard]] virtual Transfer send(Queue&, ConstView<> data, int peer, int tag) = 0;
  [[nodiscard]] virtual Transfer receive(Queue&, View<> data, int peer, int tag) = 0;

  /// By all ranks of the group, in the same order and with the same sizes. fp32, fp64, int64, exact; in place.
  virtual void all_reduce_sum(Queue&, View<> data) = 0;
  /// Flat shards: rank r owns [bounds[r], bounds[r + 1]) of `data` (size + 1 ascending bounds from 0 to data.size();
  /// empty shards are legal). reduce_to_owners leaves the sum over ranks (of the same types) in a rank's own range and
  /// anything in the rest; all_gather_shards fills the rest from the owners. They go on one behind the other.
  [[nodiscard]] virtual Transfer reduce_to_owners(Queue&, View<> data, std::span<const int64_t> bounds) = 0;
  [[nodiscard]] virtual Transfer all_gather_shards(Queue&, View<> data, std::span<const int64_t> bounds) = 0;

  /// Lets what is under way move on (MPI makes no background progress). Cheap when there is nothing.
  virtual void progress() = 0;

 protected:
  Transport(int rank, int size) : rank_(rank), size_(size) {}
  /// Throws ShapeError unless these are shards of `data`.
  void check_bounds(ConstView<> data, std::span<const int64_t> bounds) const;

 private:
  int rank_, size_;
};

constexpr int64_t kMostMessageBytes = int64_t{1} << 30;  ///< MPI counts are int

/// Of tensors in host memory, by MPI. `message_bytes`: the largest message handed to MPI, longer ones go in chunks. The
/// same on all ranks; tests make it tiny.
std::unique_ptr<Transport> host_transport(const Communicator& group, int64_t message_bytes = kMostMessageBytes);
/// Of tensors on a device as well: they are copied to pinned memory and go through `host`. On several ranks the host
/// waits for the device in each call that sends something of it, and in joining as on the CPU. A block of pinned memory
/// is taken where none that is free is large enough: in the first steps, and where transfers grow.
std::unique_ptr<Transport> staged_transport(std::unique_ptr<Transport> host);

}  // namespace memring
