// Rows of a layout as operators get them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/queue.h"

namespace memring {

/// The same rows twice: where the operator computes, and on the host, which decides by them (which blocks of keys are
/// visible at all). A view: whoever made them keeps them.
class RowTable {
 public:
  RowTable() = default;
  /// Of an operator that computes on the host.
  RowTable(std::span<const Row> on_host) : host_(on_host) {}
  RowTable(const std::vector<Row>& on_host) : host_(on_host) {}
  /// computed [rows, 4]: position, order, from and to of each.
  RowTable(std::span<const Row> decided, ConstView<int32_t> computed) : host_(decided), device_(computed) {}

  std::span<const Row> host() const { return host_; }
  ConstView<int32_t> device() const { return device_; }
  int64_t size() const { return std::ssize(host_); }
  RowTable first(int64_t count) const {
    return {host_.first(static_cast<size_t>(count)), device_ ? device_.rows(0, count) : device_};
  }

 private:
  std::span<const Row> host_;
  ConstView<int32_t> device_;
};

/// Rows as the numbers of a table.
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
