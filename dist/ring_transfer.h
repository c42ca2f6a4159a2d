// RingTransfer: a reduce-scatter or all-gather of flat shards round the ring of a group's ranks, which goes on whenever
// it is asked to. Open MPI 4.1's own reduce-scatter takes five times as long (64 MiB, two ranks of one host), and its
// sums have no order of ours.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dist/mpi_messages.h"
#include "dist/schedule.h"

namespace memring::mpi {

/// Each rank walks the shards first, first - 1, ... down the ring: it sends the first n - 1 of them to its right
/// neighbour and receives the last n - 1 from its left one. Cut into pieces this is one list, of which piece i may be
/// sent as soon as it has arrived (or belongs to the first shard). With `add`, what arrives is added to `data`;
/// without, it replaces it. One at a time in a group: the messages of one are not told from those of the next, and
/// they may use the same `arrivals`.
class RingTransfer {
 public:
  RingTransfer(InFlight&, std::vector<std::byte>& arrivals, std::byte* data, int64_t element,
               std::span<const int64_t> bounds, int first, Add add);

  bool advance();  ///< does what can be done now; true when all is done

 private:
  static constexpr int64_t kPieceBytes = 256 << 10;  ///< stays in cache between its arrival and its sum
  static constexpr size_t kDepth = 4;                ///< pieces in flight to each neighbour
  static constexpr int kTag = kTags;                 ///< one that no other message has
  struct Piece {
    std::byte* data;
    int64_t bytes;
  };

  std::byte* arrival(size_t piece) {
    return add_ ? arrivals_.data() + static_cast<int64_t>(piece % kDepth) * piece_bytes_ : pieces_[piece].data;
  }

  InFlight& messages_;
  Add add_;
  int64_t piece_bytes_;
  std::vector<Piece> pieces_;
  /// Pieces before `received_` are here, those before `sends_` have to be sent; receives have been posted and sends
  /// started before the other two, sends completed before `delivered_`.
  size_t received_ = 0, sends_ = 0, posted_ = 0, sent_ = 0, delivered_ = 0;
  std::vector<std::byte>& arrivals_;
  std::array<std::unique_ptr<Message>, kDepth> receiving_, sending_;
};

}  // namespace memring::mpi
