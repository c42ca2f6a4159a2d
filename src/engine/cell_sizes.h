// CellSizes: what a cell takes on one rank of a token axis: its rows, what is kept of it, its scratch and its state. It
// needs no such rank, so what a run takes is known before there is one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>

#include "base/arena.h"
#include "dist/schedule.h"
#include "engine/token_split.h"
#include "memory/memory.h"
#include "model/llama.h"

namespace memring {

/// What the head's backward needs.
struct HeadScratch {
  View<> d_normed;      // [batch, rows, dim]
  View<> text, d_text;  // [batch * text, dim], where text rows are not all rows

  static HeadScratch carve(Arena&, DType, CellExtent, int64_t text, int64_t dim);
};

/// What the cells of a workload have besides the text.
struct CellUses {
  bool own_positions = false;  ///< Workload's
  int64_t adjoints = 1;        ///< of a state where segments append theirs (EarlierSegments::d_states)
  bool taught = false;         ///< Workload::teaching
};

/// `text`: text rows of a segment, wherever they are; `batch`: sequences; without a pass, of the one that takes most.
class CellSizes {
 public:
  /// The memory must stay.
  CellSizes(const ModelShape& shape, const Memory& memory, DType dtype, TokenSplit split, CellUses uses)
      : shape_(shape), memory_(memory), dtype_(dtype), split_(split), uses_(uses) {}

  /// The rows on this rank of any segment with so much text.
  CellExtent extent(int64_t batch, int64_t text, Pass pass) const {
    return {batch, split_.count(layout(text, pass).rows())};
  }
  /// Which text of the segment is on this rank: two ascending ranges of [0, text), either may be empty.
  std::array<Range, 2> own_text(int64_t text, Pass) const;
  int64_t own_text_rows(int64_t text, Pass) const;

  static bool embeds(const Cell& cell) { return cell.layer == -1; }
  bool has_head(const Cell& cell) const {
    return cell.pass == Pass::Decode && cell.layer + cell.layers == shape_.layers + 1;
  }
  Range decoder_layers(const Cell&) const;

  /// Hidden rows [batch * rows, dim] between two cells of a segment, or their gradient.
  View<> carve_hidden(Arena&, int64_t batch, int64_t text, Pass) const;
  /// Rows of a segment that its forward keeps for its backward.
  CellSaved carve_saved(Arena&, int64_t batch, int64_t text, Pass) const;
  /// The few that a cell's forward needs otherwise; `hidden` goes through them.
  CellSaved carve_passing(Arena&, int64_t batch, int64_t text, Pass, View<> hidden) const;

  /// What the products of a cell need of their thread, with logits delivered where they are wanted.
  ProductCopies copies(int64_t batch, int64_t text, bool backward, bool logits) const;

  // Bytes.
  int64_t passing(int64_t batch, int64_t text) const;  ///< carve_passing
  /// A slot for any cell of a segment, of which `extent` says how many there are. Adjoints are as large as states, or,
  /// where segments append, `adjoints` times that in appended_type().
  int64_t slot(SlotKind, const Extent&, int64_t batch, int64_t text) const;
  int64_t scratch(int64_t batch, const SequenceShape&, bool backward) const;  ///< what a CellRunner takes
  int64_t ring(int64_t batch, int64_t text, bool backward) const;             ///< message buffers of a token axis
  int64_t angles(int64_t batch, int64_t text) const;                          ///< rotary: frequencies and tables
  int64_t workspace(int64_t batch, int64_t text) const;                       ///< of backward's operators, on a device
  /// What the host knows of the rows and tokens of a cell: at the most, while a layout is entered; and what a device is
  /// given of it for each cell anew.
  SpaceBytes tables(int64_t batch, const SequenceShape&, bool device) const;
  /// What a device keeps of each layout that was entered, and the host beside it.
  SpaceBytes kept_tables(int64_t text) const;
  /// The table of so many keys of earlier segments.
  static SpaceBytes earlier_keys(int64_t keys, bool device);
  /// Numbers that a cell is given by the host (CellNumbers), at the most.
  int64_t numbers(int64_t batch, const SequenceShape&) const;

  // What passes through the host's memory where the tensors are a device's, in bytes.
  int64_t message(const Extent&, int64_t batch) const;  ///< of the segment axis, one
  /// Messages of the token axis that are under way at the same time, at the most.
  int64_t collected(const Extent&, int64_t batch, int64_t text, bool backward) const;
  /// What a sink gets at once.
  int64_t results(const Extent&, int64_t batch, const SequenceShape&, bool logits, bool final_state) const;

  int64_t adjoints() const { return uses_.adjoints; }
  /// Of adjoints that segments append: where products have canonical blocks (strict), sums in whatever order.
  DType appended_type() const { return split_.block > 0 ? DType::Exact : dtype_; }
  /// Keys of earlier segments that a segment sees, at the most.
  int64_t keys_before(const SequenceShape& shape) const { return memory_.keys_before(shape.segments() - 1); }
  int64_t state_numbers() const;             ///< of one sequence at a boundary, all layers
  int64_t state_numbers(const Cell&) const;  ///< of the cell's layers
  int64_t numbers_below(const Cell&) const;  ///< of the layers below it

 private:
  Layout layout(int64_t text, Pass pass) const { return memory_.layout(pass, 0, text); }
  /// The most that f(pass) is.
  template <class F>
  int64_t most(const F& f) const;
  int64_t scratch(int64_t batch, const SequenceShape&, bool backward, Pass) const;
  int64_t numbers(int64_t batch, const SequenceShape&, Pass) const;
  int64_t numbers_of(Range layers) const;
  int64_t most_state_numbers(const Extent&) const;  ///< of one sequence at the boundary of a cell
  /// Of a segment with a past, which all but the first are.
  int64_t past_keys(int64_t text) const { return memory_.layout(Pass::Decode, 1, text).past_keys(); }
  int64_t lora_rank() const { return std::max<int64_t>(shape_.lora.rank, memory_.lora_rank()); }  ///< the largest
  int64_t angle_tables(int64_t batch) const { return uses_.own_positions ? batch : 1; }

  ModelShape shape_;
  const Memory& memory_;
  DType dtype_;
  TokenSplit split_;
  CellUses uses_;
};

}  // namespace memring
