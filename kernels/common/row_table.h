// Rows of a layout as operators get them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/queue.h"

namespace memring {

/// The least and the greatest numbers of some rows, by which kernels decide for a tile of queries and one of keys.
struct RowExtremes {
  int32_t order[2], from[2], to[2];
};

/// The same rows twice: where the operator computes, and on the host, which decides by them (which blocks of keys are
/// visible at all). A view: whoever made them keeps them.
class RowTable {
 public:
  static constexpr int64_t kTile = 64;  ///< rows that have their extremes together
  /// How many numbers so many rows are on a device: position, order, from and to of each, then each tile's extremes.
  static int64_t numbers(int64_t rows) { return kOfRow * rows + kOfTile * tiles(rows); }
  RowTable() = default;
  /// Of an operator that computes on the host.
  RowTable(std::span<const Row> on_host) : host_(on_host) {}
  RowTable(const std::vector<Row>& on_host) : host_(on_host) {}
  /// computed [numbers(rows)], as write_numbers has written them.
  RowTable(std::span<const Row> decided, ConstView<int32_t> computed)
      : host_(decided),
        device_(computed.rows(0, kOfRow * size()).reshaped({size(), kOfRow})),
        extremes_(computed.rows(kOfRow * size(), kOfTile * tiles(size())).reshaped({tiles(size()), kOfTile})) {}

  std::span<const Row> host() const { return host_; }
  ConstView<int32_t> device() const { return device_; }      ///< [rows, 4], a Row each
  ConstView<int32_t> extremes() const { return extremes_; }  ///< [tiles, 6], a RowExtremes each
  int64_t size() const { return std::ssize(host_); }
  /// The extremes of its last tile may be those of more rows.
  RowTable first(int64_t count) const {
    RowTable table(host_.first(static_cast<size_t>(count)));
    if (device_) {
      table.device_ = device_.rows(0, count);
      table.extremes_ = extremes_.rows(0, tiles(count));
    }
    return table;
  }
  /// The same with f(view) in the place of each view of the device's.
  template <class F>
  RowTable with(F& f) const {
    RowTable table(host_);
    table.device_ = f(device_);
    table.extremes_ = f(extremes_);
    return table;
  }

 private:
  static constexpr int64_t kOfRow = 4, kOfTile = 6;
  static int64_t tiles(int64_t rows) { return (rows + kTile - 1) / kTile; }

  std::span<const Row> host_;
  ConstView<int32_t> device_, extremes_;
};

/// Rows as the RowTable::numbers of a table.
void write_numbers(std::span<int32_t> numbers, std::span<const Row> rows);

/// Tables of the layouts that a run meets, a few. On a device each is uploaded once and stays as long as the store, for
/// what was enqueued with it may be under way; on the host only the tables of the last layout stay.
class RowStore {
 public:
  /// A new layout: what the host had is gone.
  void next_layout(const Queue&);
  RowTable add(const Queue&, std::vector<Row> rows);

 private:
  struct Table {
    std::vector<Row> rows;
    Arena staging, on_device;
    View<int32_t> numbers;  ///< on the device
  };
  std::deque<Table> tables_;
};

}  // namespace memring
