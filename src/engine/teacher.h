// Teacher: the decoder by itself, without memory and updates, as it reads raw text. Its distribution of a segment's
// text is what a model that has only memories of the text before is drawn to (objective.kind = distil).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <memory>

#include "engine/cell_runner.h"

namespace memring {

/// What it takes on one rank of a token axis, for segments of `text` tokens that end a window of `raw` tokens.
class TeacherSizes {
 public:
  TeacherSizes(const ModelShape&, DType, TokenSplit);

  const CellSizes& cells() const { return cells_; }  ///< of a segment that is the whole window
  /// Of its rows that stay (Teacher::rows), and of what it gives back, bytes; own: of the text, on this rank.
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

class Teacher {
 public:
  /// All of which must stay. Takes no memory yet.
  Teacher(Queue&, const Params&, const Llama&, TokenAxis&, CellNumbers&, DType);

  const TeacherSizes& sizes() const { return sizes_; }
  /// For windows of up to so many tokens; the bytes that it takes for their angles.
  int64_t allocate(int64_t batch, int64_t raw);
  /// Of `raw`, whose last `text` tokens are the segment's: the output of the final norm, [batch * own, dim] from
  /// `scratch`, of those that are in two ranges of the text.
  View<> rows(const CellText& raw, int64_t text, const std::array<Range, 2>& own, Arena& scratch);

 private:
  Queue& queue_;
  Llama base_;
  TokenAxis& axis_;
  DType dtype_;
  TeacherSizes sizes_;
  CellRunner runner_;
};

}  // namespace memring
