// CellRunner: one cell (some layers of one segment of one stream) forward, its loss, and backward: where model and
// memory meet. It knows no schedules, and of ranks only that some rows of its cell may be elsewhere.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/arena.h"
#include "engine/cell_numbers.h"
#include "engine/cell_sizes.h"
#include "engine/token_axis.h"
#include "memory/memory.h"
#include "model/llama.h"
#include "model/params.h"

namespace memring {

/// What cells are computed with.
struct CellModel {
  const Params& params;
  const Llama& llama;
  Memory& memory;
  int repeat_token = -1;  ///< Model::repeat_token
};

/// What the text's distribution is drawn to by this share of the loss (CrossEntropy::distil).
struct Taught {
  ConstView<> rows;  ///< of the final norm, [batch * own, dim]; empty: nobody teaches
  double share = 0;
};

/// The text of a cell: tokens and targets [batch, own], of no use to a cell that neither embeds nor has the head.
struct CellText {
  int64_t batch = 0, text = 0, own = 0;  ///< sequences; text rows of the segment; those on this rank
  TokenIds tokens, targets;
  std::span<const int32_t> positions{};  ///< position ids of the segment's text [batch, text]; none: 0, 1, 2, ...
  Taught taught{};                       ///< of a cell with the head: backward, or forward where there is none
  bool repeats = false;                  ///< the repeat token stands in place of the first text row, which is here
  bool every_row = false;                ///< logits of every row are wanted, and not only of those whose target counts
};

/// What a cell has to do with other segments' memories; sequences first.
struct CellStates {
  ConstView<> in;  ///< [batch, state_numbers(cell)]; empty: the initial state
  View<> out;      ///< the same; empty: nobody reads it
  EarlierSegments earlier{};
  View<> told{};  ///< CellContext::told
};

/// The rows that the head sees: text rows, of those behind the last layer.
struct HeadRows {
  int64_t rows = 0;              ///< of a sequence, behind the last layer
  int64_t first = 0, count = 0;  ///< which of them
  TokenIds targets;              ///< theirs, [batch * count]
  /// Their numbers in a sequence's own text; none: all of it in turn.
  std::optional<std::vector<int32_t>> of_text;
};

class CellRunner {
 public:
  CellRunner(Queue&, const CellModel&, TokenAxis&, const CellSizes&, CellNumbers&);  ///< all of which must stay

  /// Where to note the layer that is worked on.
  void note_in(Progress& progress) { progress_ = &progress; }
  void allocate_angles(int64_t bytes, RotaryScale);
  void allocate_keys(int64_t most);  ///< of earlier segments
  /// Where backward adds the loss of the text [1] where somebody teaches it, and the memory notes its diagnostics
  /// [their number], from now on.
  void set_sums(View<double> text_loss, View<double> diagnostics) {
    text_loss_ = text_loss;
    diagnostics_ = diagnostics;
  }

  /// Decides which rows the last layer computes (CellSaved::wanted).
  void forward(const CellText&, Cell, CellSaved&, const CellStates&, Arena& scratch);
  /// nll [batch * own] of a cell with the head that was run forward; no gradient.
  void loss(const CellText&, const HeadRows&, const CellSaved&, View<> nll, Arena& scratch);
  /// The divergence from what teaches it, [batch * own], of such a cell.
  void divergence(const CellText&, const HeadRows&, const CellSaved&, View<> divergence, Arena& scratch);
  /// Logits [batch * count, vocab] of such a cell's head rows.
  void logits(const CellText&, const HeadRows&, const CellSaved&, View<> logits, Arena& scratch);
  HeadRows head_rows(const CellText&, const CellSaved&);  ///< once a cell
  /// Head and loss, where the cell has them, and its layers, back to the embeddings where it has them: parameter
  /// gradients of sum(nll) + <d_state_out, state_out> are accumulated. d_hidden [batch * rows, dim]: of the cell's
  /// output in (none above the head), of its input out. d_state_out is empty where it is zero, d_state_in where it is
  /// not wanted. Spends what is saved: once only. The cell may be a part of `whole`, whose states the adjoints are: the
  /// parts from the top down do what the whole would.
  void backward(const CellText&, Cell, Cell whole, const CellSaved&, View<> d_hidden, bool initial,
                ConstView<> d_state_out, View<> d_state_in, const EarlierSegments&, View<> nll, Arena& scratch);

 private:
  /// Token embeddings of the text rows, and of the repeat token.
  void embed(const CellText&, View<> hidden);
  void embed_backward(const CellText&, View<> d_hidden);
  /// The rows of which the last layer's output is wanted: those that the memory reads behind it, and those whose
  /// target counts in a sequence of the batch. Empty: all, as where these are more than half of them.
  std::vector<int32_t> wanted_rows(const CellText&, const Layout&) const;
  /// f(nll of the head's rows); the others' in `nll` [batch * own] become 0.
  template <class F>
  void with_nll(const CellText&, const HeadRows&, View<> nll, Arena& scratch, const F& f);
  /// Head and loss on the text rows, and the final norm: writes d_top, of the rows behind the last layer.
  void head_backward(const CellText&, const CellSaved&, CellContext&, View<> d_top, View<> nll, Arena& scratch);
  /// The cell's layout becomes the axis' own.
  CellContext enter(const CellText&, Cell, Arena& scratch);
  /// Sets what the context says about a layer.
  void enter_layer(CellContext&, const CellSaved&, int64_t layer) const;
  /// Rows and angles of keys across segments.
  void add_keys(CellContext&, DType, const EarlierSegments&);
  /// What the layers see of the entered cell, and what the last one does (angles of its own come from `scratch`).
  LayerRows layer_rows(DType, const CellText&, const Cell&);
  LayerSaved layer_saved(const CellSaved&, int64_t layer) const;
  LayerRows last_layer_rows(const CellSaved&, const LayerRows& all, Arena& scratch);
  /// Work on a layer begins; -1 and the number of layers are the two ends.
  void note(int64_t layer) const;
  /// Position ids of the rows here, [sequences or 1, rows].
  std::vector<int32_t> positions(const CellText&, const Cell&) const;
  RopeAngles angles(DType, const CellText&, const Cell&);
  void fill_table(View<> cos, View<> sin, std::span<const int32_t> positions);
  /// What teaches the head's rows, [batch * count, dim].
  ConstView<> taught_rows(const CellText&, const HeadRows&, Arena& scratch);
  /// The head's rows of `hidden` as one dense block: itself where there are no others, else a copy in scratch.
  View<> text_rows(const CellText&, const HeadRows&, View<> hidden, Arena& scratch);

  Queue& queue_;
  const Params& params_;
  const Llama& llama_;
  Memory& memory_;
  const int repeat_token_;
  TokenAxis& axis_;
  const CellSizes& sizes_;
  Progress* progress_ = nullptr;
  CellNumbers& ids_;
  View<double> text_loss_, diagnostics_;
  std::vector<Row> queries_;
  RowStore earlier_store_;
  RowTable earlier_keys_;                 ///< the most that there are: all alike
  std::vector<int32_t> angle_positions_;  // those that the tables are for
  Arena angles_;
  int64_t tables_begin_ = 0;  // behind the frequencies
  View<double> inverse_;
  double angle_factor_ = 1;
  View<> cos_, sin_;
};

}  // namespace memring
