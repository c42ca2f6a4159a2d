// TeacherSizes: what a teacher (engine/teacher.h) takes on one rank of a token axis. It needs no such rank, so what a
// run takes is known before there is one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <memory>

#include "engine/cell_sizes.h"

namespace memring {

/// For segments of `text` tokens that end a window of `raw` tokens.
class TeacherSizes {
 public:
  TeacherSizes(const ModelShape&, DType, TokenSplit);

  const CellSizes& cells() const { return cells_; }  ///< of a segment that is the whole window
  /// Bytes: of its rows that stay (Teacher::rows; `own`: of the text, on this rank), and of what it gives back.
  int64_t taught_bytes(int64_t batch, int64_t own) const;
  int64_t scratch_bytes(int64_t batch, int64_t text, int64_t raw) const;
  /// What messages of the token axis pass through the host's memory (CellSizes::collected), in bytes.
  int64_t collected_bytes(int64_t batch, int64_t text, int64_t raw) const;
  Memory& memory() const { return *memory_; }  ///< none

 private:
  DType dtype_;
  int64_t dim_;
  TokenSplit split_;
  std::unique_ptr<Memory> memory_;
  CellSizes cells_;
};

/// The tokens of a sequence that it reads for a segment which ends at `end`.
inline Range taught_window(int64_t end, int64_t window) { return {std::max<int64_t>(0, end - window), end}; }

}  // namespace memring
