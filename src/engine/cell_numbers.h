// CellNumbers: what the host gives to a cell, token ids and the rows that ask, where operators find it and where the
// host reads it. A device is behind the host, so what one cell was given stays as it is for some cells more.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>
#include <vector>

#include "base/queue.h"
#include "kernels/common/row_table.h"
#include "kernels/common/token_ids.h"

namespace memring {

class CellNumbers {
 public:
  /// The host waits for the device once in so many cells, and is at most twice as many ahead.
  static constexpr int64_t kCells = 8;
  /// Bytes on the host for cells of up to so many numbers; a device takes as many again.
  static int64_t bytes(int64_t numbers, bool device);
  void allocate(const Queue&, int64_t numbers);

  /// All that uses the numbers of the cell before has been enqueued.
  void next_cell(const Queue&);
  /// Room for so many more numbers of this cell, on the host.
  std::span<int32_t> take(int64_t count);
  /// What has been written there, all or a part of what was taken, for operators.
  TokenIds ready(const Queue&, std::span<const int32_t> ids) const;
  /// Rows for the operators of this cell; `rows` must stay until the next.
  RowTable ready(const Queue&, std::span<const Row> rows);

 private:
  struct OfCell {
    View<int32_t> host, device;
  };
  /// On a stream of their own, numbers arrive while the device is at the cells before; the queue waits for them.
  void upload(const Queue&, View<int32_t> to, ConstView<int32_t> from) const;

  Arena staging_, on_device_;
  Stream uploads_;
  std::vector<OfCell> cells_;    // one on the CPU, which is never behind; on a device two halves of kCells
  std::array<Event, 2> used_{};  // of a half: where the device has done with it
  int64_t now_ = 0, taken_ = 0;
};

}  // namespace memring
