// Communicator: host values (norms, flags, texts, small sums) between the ranks of one group, by MPI. Tensors travel by
// Transport. A world of one sends no messages and needs no launcher.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/view.h"

namespace memring {

namespace mpi {
struct Group;
}

/// A handle: copies speak for the same group. Every function throws Error(Internal) that names rank, host, operation,
/// peer and size when MPI fails, and ShapeError for views and roots outside the contract, or for 2 GiB and more of a
/// rank: such sizes are tensors. All ranks of the group call them in the same order and with the same sizes. Only the
/// main thread may.
class Communicator {
 public:
  int rank() const;
  int size() const;
  const std::string& name() const;  ///< for messages: "world", "segment", "token"

  /// The ranks that gave the same color (>= 0), ordered by key.
  Communicator split(int color, int key, const std::string& name) const;

  void barrier();
  /// The same, where the ranks that wait sleep for `nap` between looks and leave their cores to the others.
  void barrier(std::chrono::milliseconds nap);
  void broadcast(View<> data, int root);
  /// fp32, fp64, int64, exact; in place, in rank order: ((x0 + x1) + x2) + ..., the same bits on every rank.
  void all_reduce_sum(View<> data);
  int64_t all_reduce_max(int64_t value);
  void all_gather(View<> all, ConstView<> mine);  ///< all [size, ...] row r is rank r's `mine`

  /// For the transport of the same group.
  const std::shared_ptr<const mpi::Group>& group() const { return group_; }

 private:
  friend class Session;
  explicit Communicator(std::shared_ptr<const mpi::Group> group) : group_(std::move(group)) {}
  static Communicator of_all_ranks(const std::string& host);  ///< MPI must have been started

  std::shared_ptr<const mpi::Group> group_;
};

}  // namespace memring
