// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/row_table.h"

#include <algorithm>

#include "base/readback.h"

namespace memring {

void write_numbers(std::span<int32_t> numbers, std::span<const Row> rows) {
  auto next = numbers.begin();
  for (const Row& row : rows)
    for (const int32_t number : {row.position, row.order, row.from, row.to}) *next++ = number;
  for (auto tile = rows; !tile.empty(); tile = tile.subspan(std::min(tile.size(), size_t{RowTable::kTile})))
    for (const auto part : {&Row::order, &Row::from, &Row::to}) {
      const auto [least, greatest] =
          std::ranges::minmax(tile.first(std::min(tile.size(), size_t{RowTable::kTile})), {}, part);
      *next++ = least.*part;
      *next++ = greatest.*part;
    }
}

void RowStore::next_layout(const Queue& queue) {
  if (!queue.device()) tables_.clear();
}

RowTable RowStore::add(const Queue& queue, std::vector<Row> rows) {
  for (const Table& table : tables_)
    if (queue.device() && table.rows == rows) return {table.rows, table.numbers};
  Table& table = tables_.emplace_back();
  table.rows = std::move(rows);
  if (!queue.device()) return table.rows;
  const Shape shape{RowTable::numbers(std::ssize(table.rows))};
  const int64_t bytes = shape.elements() * bytes_of(DType::I32);
  table.staging = queue.staging(bytes);
  table.on_device = queue.arena(bytes);
  const View<int32_t> here = table.staging.take<int32_t>(shape);
  table.numbers = table.on_device.take<int32_t>(shape);
  write_numbers({here.data(), static_cast<size_t>(here.size())}, table.rows);
  copy_later(queue, table.numbers, here);
  return {table.rows, table.numbers};
}

}  // namespace memring
