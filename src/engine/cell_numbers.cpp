// SPDX-License-Identifier: Apache-2.0
#include "engine/cell_numbers.h"

namespace memring {

int64_t CellNumbers::bytes(int64_t numbers, bool device) {
  Arena measure;
  for (int64_t cell = 0; cell < (device ? 2 * kCells : 1); ++cell) measure.take<int32_t>({numbers});
  return measure.peak();
}

void CellNumbers::allocate(const Queue& queue, int64_t numbers) {
  const bool device = queue.device() != nullptr;
  staging_ = queue.staging(bytes(numbers, device));
  if (device) {
    on_device_ = queue.arena(bytes(numbers, device));
    uploads_ = queue.device()->stream(Priority::High);
  }
  for (int64_t cell = 0; cell < (device ? 2 * kCells : 1); ++cell) {
    const View<int32_t> host = staging_.take<int32_t>({numbers});
    cells_.push_back({host, device ? on_device_.take<int32_t>({numbers}) : host});
  }
}

void CellNumbers::next_cell(const Queue& queue) {
  now_ = (now_ + 1) % std::ssize(cells_);
  taken_ = 0;
  if (now_ % kCells != 0) return;
  const auto half = static_cast<size_t>(now_ / kCells);
  used_[1 - half] = queue.record();
  queue.finish(used_[half]);
}

std::span<int32_t> CellNumbers::take(int64_t count) {
  const View<int32_t> taken = cells_[static_cast<size_t>(now_)].host.rows(taken_, count);
  taken_ += count;
  return {taken.data(), static_cast<size_t>(count)};
}

TokenIds CellNumbers::ready(const Queue& queue, std::span<const int32_t> ids) const {
  const OfCell& cell = cells_[static_cast<size_t>(now_)];
  const ConstView<int32_t> host = cell.host.rows(ids.data() - cell.host.data(), std::ssize(ids));
  if (!queue.device()) return TokenIds(host);
  const View<int32_t> there = cell.device.rows(ids.data() - cell.host.data(), std::ssize(ids));
  upload(queue, there, host);
  return TokenIds(there, ids);
}

// What was there before has been used: next_cell has waited for it.
void CellNumbers::upload(const Queue& queue, View<int32_t> to, ConstView<int32_t> from) const {
  Device& device = *queue.device();
  device.copy(uploads_, to, from);
  device.wait(queue.stream(), device.record(uploads_));
}

RowTable CellNumbers::ready(const Queue& queue, std::span<const Row> rows) {
  if (!queue.device()) return rows;
  const std::span<int32_t> numbers = take(RowTable::numbers(std::ssize(rows)));
  write_numbers(numbers, rows);
  return {rows, ready(queue, numbers).ids};
}

}  // namespace memring
