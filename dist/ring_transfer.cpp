// SPDX-License-Identifier: Apache-2.0
#include "dist/ring_transfer.h"

#include <algorithm>
#include <thread>

namespace memring {

RingTransfer::RingTransfer(Communicator& group, std::byte* data, int64_t element, std::span<const int64_t> bounds,
                           int first, Add sum)
    : group_(group),
      sum_(sum),
      piece_bytes_(std::max<int64_t>(1, std::min(kPieceBytes, group.message_limit()) / element) * element) {
  const int size = group.size();
  if (size == 1) return;
  for (int step = 0; step < size; ++step) {
    const auto shard = static_cast<size_t>((first - step + 2 * size) % size);
    const int64_t end = bounds[shard + 1] * element;
    if (step == size - 1) sends_ = pieces_.size();
    for (int64_t at = bounds[shard] * element; at < end; at += piece_bytes_)
      pieces_.push_back({data + at, std::min(piece_bytes_, end - at)});
    if (step == 0) received_ = posted_ = pieces_.size();
  }
  if (sum_ && posted_ < pieces_.size()) arrivals_.resize(kDepth * static_cast<size_t>(piece_bytes_));
}

// Whatever completes, the next arrival or the oldest send, lets something new start.
bool RingTransfer::advance() {
  for (bool moved = true; moved;) {
    moved = false;
    for (; posted_ < pieces_.size() && posted_ < received_ + kDepth; ++posted_)
      receiving_[posted_ % kDepth] = group_.ring_message(true, arrival(posted_), pieces_[posted_].bytes);
    for (; sent_ < std::min(sends_, received_) && sent_ < delivered_ + kDepth; ++sent_)
      sending_[sent_ % kDepth] = group_.ring_message(false, pieces_[sent_].data, pieces_[sent_].bytes);
    while (delivered_ < sent_ && sending_[delivered_ % kDepth].test()) {
      ++delivered_;
      moved = true;
    }
    while (received_ < posted_ && receiving_[received_ % kDepth].test()) {
      const Piece& piece = pieces_[received_];
      if (sum_) sum_(piece.data, arrival(received_), piece.bytes);
      ++received_;
      moved = true;
    }
  }
  return received_ == pieces_.size() && delivered_ == sends_;
}

void RingTransfer::finish() {
  while (!advance()) std::this_thread::yield();
}

}  // namespace memring
