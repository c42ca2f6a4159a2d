// SPDX-License-Identifier: Apache-2.0
#include "engine/id_ring.h"

#include "base/readback.h"

namespace memring {
namespace {

constexpr int64_t kLists = 3;  // tokens, targets, those of the head's rows

}  // namespace

int64_t IdRing::bytes(int64_t ids, bool device) {
  Arena measure;
  for (int64_t cell = 0; cell < (device ? kCells : 1); ++cell) measure.take<int32_t>({kLists * ids});
  return measure.peak();
}

void IdRing::allocate(const Queue& queue, int64_t ids) {
  const bool device = queue.device() != nullptr;
  count_ = device ? kCells : 1;
  staging_ = queue.staging(bytes(ids, device));
  if (device) on_device_ = queue.arena(bytes(ids, device));
  for (int64_t cell = 0; cell < count_; ++cell) {
    CellIds& c = cells_[static_cast<size_t>(cell)];
    c.host = staging_.take<int32_t>({kLists * ids});
    c.device = device ? on_device_.take<int32_t>({kLists * ids}) : c.host;
  }
}

void IdRing::next_cell(const Queue& queue) {
  cells_[static_cast<size_t>(now_)].used = queue.record();
  now_ = (now_ + 1) % count_;
  taken_ = 0;
  queue.finish(cells_[static_cast<size_t>(now_)].used);
}

std::span<int32_t> IdRing::take(int64_t count) {
  const View<int32_t> taken = cells_[static_cast<size_t>(now_)].host.rows(taken_, count);
  taken_ += count;
  return {taken.data(), static_cast<size_t>(count)};
}

TokenIds IdRing::ready(const Queue& queue, std::span<const int32_t> ids) const {
  const CellIds& cell = cells_[static_cast<size_t>(now_)];
  const ConstView<int32_t> host = cell.host.rows(ids.data() - cell.host.data(), std::ssize(ids));
  if (!queue.device()) return TokenIds(host);
  const View<int32_t> there = cell.device.rows(ids.data() - cell.host.data(), std::ssize(ids));
  copy_later(queue, there, host);
  return TokenIds(there, ids);
}

}  // namespace memring
