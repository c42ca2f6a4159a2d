// SPDX-License-Identifier: Apache-2.0
#include "dist/ring_transfer.h"

#include <algorithm>

namespace memring {

RingTransfer::RingTransfer(MpiMessages& messages, std::vector<std::byte>& arrivals, std::byte* data, int64_t element,
                           std::span<const int64_t> bounds, int first, Add add)
    : messages_(messages),
      add_(add),
      piece_bytes_(std::max<int64_t>(1, std::min(kPieceBytes, messages.most_bytes()) / element) * element),
      arrivals_(arrivals) {
  const int size = messages.group().size;
  if (size == 1) return;
  for (int step = 0; step < size; ++step) {
    const auto shard = static_cast<size_t>((first - step + 2 * size) % size);
    const int64_t end = bounds[shard + 1] * element;
    if (step == size - 1) sends_ = pieces_.size();
    for (int64_t begin = bounds[shard] * element; begin < end; begin += piece_bytes_)
      pieces_.push_back({data + begin, std::min(piece_bytes_, end - begin)});
    if (step == 0) received_ = posted_ = pieces_.size();
  }
}

// Whatever completes, the next arrival or the oldest send, lets something new start.
bool RingTransfer::advance() {
  const MpiGroup& group = messages_.group();
  const int left = (group.rank + group.size - 1) % group.size, right = (group.rank + 1) % group.size;
  const size_t room = add_ && posted_ < pieces_.size() ? kDepth * static_cast<size_t>(piece_bytes_) : 0;
  if (arrivals_.size() < room) arrivals_.resize(room);
  for (bool moved = true; moved;) {
    moved = false;
    for (; posted_ < pieces_.size() && posted_ < received_ + kDepth; ++posted_)
      receiving_[posted_ % kDepth] = messages_.receive(arrival(posted_), pieces_[posted_].bytes, left, kTag);
    for (; sent_ < std::min(sends_, received_) && sent_ < delivered_ + kDepth; ++sent_)
      sending_[sent_ % kDepth] = messages_.send(pieces_[sent_].data, pieces_[sent_].bytes, right, kTag);
    while (delivered_ < sent_ && sending_[delivered_ % kDepth]->test()) {
      ++delivered_;
      moved = true;
    }
    while (received_ < posted_ && receiving_[received_ % kDepth]->test()) {
      const Piece& piece = pieces_[received_];
      if (add_) add_(piece.data, arrival(received_), piece.bytes);
      ++received_;
      moved = true;
    }
  }
  return received_ == pieces_.size() && delivered_ == sends_;
}

}  // namespace memring
