// Communicator: the transport between the ranks of one group, on views. MPI carries it today, NCCL later; the same
// tests run on both. A world of one sends no messages and needs no launcher.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/view.h"

namespace memring {

/// A message in flight; wait() completes it. Must be waited for before it is destroyed (unless an exception unwinds):
/// its buffer is in use until then. Destroyed unfinished it waits, or, while an exception unwinds, leaves the transport
/// alone.
class Request {
 public:
  Request();
  Request(Request&&) noexcept;
  Request& operator=(Request&&) noexcept;
  ~Request();
  void wait();  ///< returns at once when it holds nothing or has completed
  bool test();  ///< lets the transport make progress; true when completed
  explicit operator bool() const;

 private:
  friend class Communicator;
  struct State;
  std::unique_ptr<State> state_;
};

class RingTransfer;

/// A sum over ranks under way. Finished before anything else of its group is summed or gathered.
class Reduction {
 public:
  Reduction();
  Reduction(Reduction&&) noexcept;
  Reduction& operator=(Reduction&&) noexcept;
  ~Reduction();
  bool advance();  ///< does what can be done now; true when all is done
  void finish();   ///< returns at once when it holds nothing or is done

 private:
  friend class Communicator;
  std::unique_ptr<RingTransfer> transfer_;
};

/// Every function throws Error(Internal) that names rank, host, operation, peer and size when the transport fails, and
/// ShapeError for views, bounds, peers or tags outside the contract. Counts beyond 2^31 are sent in chunks. Collectives
/// are called by all ranks of the group, in the same order and with the same sizes. Only the main thread may call
/// these.
///
/// Sums of floating-point numbers have a fixed order: same mesh, same bits, and the same bits on every rank. Up to 256
/// KiB over all ranks all_reduce_sum adds in rank order, ((x0 + x1) + x2) + ...; beyond, and in reduce_scatter_sum,
/// shard r is added round the ring, ((x[r+1] + x[r+2]) + ...) + x[r] (ranks modulo size; part r of part_of() in
/// all_reduce_sum).
class Communicator {
 public:
  /// Tags are 0 to kTags - 1 (MPI promises no more). Messages of one pair and tag arrive in the order they were sent.
  static constexpr int kTags = 32767;

  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;
  ~Communicator();

  int rank() const;
  int size() const;
  const std::string& name() const;  ///< for messages: "world", "data", "segment", "token"

  /// The ranks that gave the same color (>= 0), ordered by key. Collective.
  Communicator split(int color, int key, const std::string& name) const;

  void barrier();
  void broadcast(View<> data, int root);
  void all_reduce_sum(View<> data);  ///< fp32, fp64, int64, exact; in place
  int64_t all_reduce_max(int64_t value);
  void all_gather(View<> all, ConstView<> mine);  ///< all [size, ...] row r is rank r's `mine`
  /// Flat shards: rank r owns [bounds[r], bounds[r + 1]) of `data` (size + 1 ascending bounds from 0 to data.size();
  /// empty shards are legal). After reduce_scatter_sum (fp32, fp64, int64, exact) a rank's own range holds the sum over
  /// ranks and the rest is undefined; all_gather_shards fills the rest from the owners. Ring algorithms.
  void reduce_scatter_sum(View<> data, std::span<const int64_t> bounds);
  /// The same, which goes on while this rank computes. The view must stay.
  [[nodiscard]] Reduction start_reduce_scatter_sum(View<> data, std::span<const int64_t> bounds);
  void all_gather_shards(View<> data, std::span<const int64_t> bounds);

  /// Sender and receiver agree on the number of bytes; `peer` is another rank of this group. Neither call blocks.
  [[nodiscard]] Request send(ConstView<> data, int peer, int tag);
  [[nodiscard]] Request receive(View<> data, int peer, int tag);
  /// Lets messages in flight move on (MPI makes no background progress). Cheap when there are none; errors come from
  /// wait().
  void progress();

  /// The largest message handed to the transport, in bytes (1 GiB unless told): longer ones go in chunks. All ranks of
  /// the group must agree; later splits inherit it. Tests make it tiny.
  void limit_message(int64_t bytes);

 private:
  friend class Request;
  friend class RingTransfer;
  friend class Session;
  struct State;
  Request ring_message(bool receives, std::byte* data, int64_t bytes);  ///< from the left neighbour, or to the right
  int64_t message_limit() const;
  explicit Communicator(std::shared_ptr<State>);
  static Communicator of_all_ranks(const std::string& host);  ///< MPI must have been started
  std::shared_ptr<State> state_;                              ///< shared with requests in flight
};

}  // namespace memring
