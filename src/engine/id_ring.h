// IdRing: the token ids of cells, where operators find them and where the host reads them. A device is behind the host,
// so what a cell was given stays as it is for some cells more.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>
#include <vector>

#include "base/queue.h"
#include "kernels/common/token_ids.h"

namespace memring {

class IdRing {
 public:
  /// Cells that the device may be behind the host, at the most twice as many; the host waits once for so many.
  static constexpr int64_t kCells = 8;
  /// Bytes for cells of up to so many ids (each of tokens, targets and those of the head), where the host writes them;
  /// on a device as many again.
  static int64_t bytes(int64_t ids, bool device);
  void allocate(const Queue&, int64_t ids);

  /// All that uses the ids of the cell before has been enqueued. Waits while the device is too far behind.
  void next_cell(const Queue&);
  /// Room for so many more ids of the cell, on the host.
  std::span<int32_t> take(int64_t count);
  /// They are written: `ids`, or a part of what was taken, for operators.
  TokenIds ready(const Queue&, std::span<const int32_t> ids) const;

 private:
  struct CellIds {
    View<int32_t> host, device;
  };
  Arena staging_, on_device_;
  std::vector<CellIds> cells_;   // one on the CPU, which is never behind; on a device two halves
  std::array<Event, 2> used_{};  // of a half: where the device has done with it
  int64_t now_ = 0, taken_ = 0;
};

}  // namespace memring
