// Teacher: the decoder by itself, without memory and without the updates that learn, as it reads raw text. Its
// distribution of a segment's text is what a model that has only memories of the text before is drawn to
// (objective.kind = distil).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "engine/cell_runner.h"
#include "engine/teacher_sizes.h"

namespace memring {

class Teacher {
 public:
  /// All of which must stay. Takes no memory yet.
  Teacher(Queue&, const Params&, const Llama&, TokenAxis&, CellNumbers&, DType);

  const TeacherSizes& sizes() const { return sizes_; }
  void note_in(Progress& progress) { runner_.note_in(progress); }
  /// For windows of up to so many tokens; the bytes that it takes for their angles.
  int64_t allocate(int64_t batch, int64_t raw);
  /// Of `raw`, whose last `text` tokens are the segment's: the output of the final norm, [batch * own, dim] from
  /// `scratch`, of those that are in two ranges of the text. (On a token axis windows and segments lie differently on
  /// the ranks, so each has the rows of the whole segment for a moment.)
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
