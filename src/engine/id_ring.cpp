// SPDX-License-Identifier: Apache-2.0
#include "engine/id_ring.h"

#include "base/readback.h"

namespace memring {
namespace {

constexpr int64_t kLists = 3;  // tokens, targets, those of the head's rows

}  // namespace

int64_t IdRing::bytes(int64_t ids, bool device) {
  Arena measure;
  for (int64_t cell = 0; cell < (device ? 2 * kCells : 1); ++cell) measure.take<int32_t>({kLists * ids});
  return measure.peak();
}

void IdRing::allocate(const Queue& queue, int64_t ids) {
  const bool device = queue.device() != nullptr;
  staging_ = queue.staging(bytes(ids, device));
  if (device) on_device_ = queue.arena(bytes(ids, device));
  for (int64_t cell = 0; cell < (device ? 2 * kCells : 1); ++cell) {
    const View<int32_t> host = staging_.take<int32_t>({kLists * ids});
    cells_.push_back({host, device ? on_device_.take<int32_t>({kLists * ids}) : host});
  }
}

void IdRing::next_cell(const Queue& queue) {
  now_ = (now_ + 1) % std::ssize(cells_);
  taken_ = 0;
  if (now_ % kCells != 0) return;
  const auto half = static_cast<size_t>(now_ / kCells);
  used_[1 - half] = queue.record();
  queue.finish(used_[half]);
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
