// Memory: what carries over segment boundaries. A mechanism declares its dependency, and the schedule follows from
// it; it hooks into the cell where its state enters and leaves. It never sees a rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/arena.h"
#include "base/ids.h"
#include "base/queue.h"
#include "kernels/associative/associative.h"
#include "kernels/attention/attention.h"
#include "memory/row_axis.h"
#include "model/layer.h"
#include "model/params.h"
#include "model/shape.h"

namespace memring {

/// What a hook sees of its cell. Which views are set depends on the hook; an empty view means: not there, or not
/// wanted.
struct CellContext {
  Queue& queue;
  RowAxis& axis;
  Arena& scratch;  ///< of a hook's own; given back by its end
  const Params& params;
  Cell cell;
  int64_t batch = 0, text = 0;    ///< sequences; text rows of this segment, on all ranks
  std::span<const int32_t> rows;  ///< which rows of the layout (Memory::rows) are on this rank, ascending
  View<> hidden;                  ///< [batch, rows, dim]: those rows
  View<> d_hidden;                ///< gradient of `hidden`, same shape
  bool initial = false;           ///< the state that enters is the mechanism's initial one
  int64_t state_layer = 0;        ///< the first layer of those whose states the views below hold
  ConstView<> state_in;           ///< [batch, state_numbers of the layers]; forward only, empty when initial
  View<> state_out;               ///< empty: nobody reads it
  ConstView<> d_state_out;        ///< empty: zero
  View<> d_state_in;              ///< empty: not wanted (first segment, or the boundary is closed to gradients)
  View<uint8_t> saved;            ///< what this layer's hooks keep for their backward; empty: nothing is kept
};

/// Each hook has its backward beside it; hooks that a mechanism does not need do nothing.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual Dependency dependency() const = 0;
  /// Numbers of a sequence's state at a boundary, of layer `layer` (RMT: at layer L only), in the accumulation type.
  virtual int64_t state_numbers(int64_t layer) const = 0;
  /// The layout of a segment with `text` text rows.
  virtual std::vector<Row> rows(Pass, int32_t segment, int64_t text) const = 0;
  /// Number of the first text row in that layout; text rows are contiguous.
  virtual int64_t text_begin() const = 0;
  /// What the hooks of one layer keep (CellContext::saved), and the most that any hook takes from `scratch`. The extent
  /// is that of the rows here.
  virtual int64_t saved_bytes(DType, CellExtent) const { return 0; }
  virtual int64_t scratch_bytes(DType, CellExtent, bool /*backward*/) const { return 0; }

  /// Fills the memory rows of the input embeddings (text rows are there already).
  virtual void compose(CellContext&) {}
  /// Writes d_state_in, or sends the gradient to the parameters of the initial state.
  virtual void compose_backward(CellContext&) {}

  /// Key spans in front of the segment's own (UIO's memories, the previous segment's keys).
  virtual std::span<const KeySpan> keys(CellContext&) { return {}; }

  // `hidden` is the layer's input, and then its output. before_layer may change it in place, also as the output of the
  // layer below: backward hooks find it changed, and read from `saved` what they need of it.
  virtual void before_layer(CellContext&) {}  ///< ARMT reads
  virtual void before_layer_backward(CellContext&) {}
  virtual void after_layer(CellContext&) {}  ///< ARMT writes, UIO keeps
  virtual void after_layer_backward(CellContext&) {}

  /// How alive an associative memory is: of the forward hooks since the last call.
  virtual Associative::Smallest take_smallest() { return {}; }

  /// `hidden` is the output of the final norm: writes state_out.
  virtual void after_norm(CellContext&) {}
  /// Writes the memory rows of d_hidden (the head has written the text rows).
  virtual void after_norm_backward(CellContext&) {}
};

struct MemorySettings {
  MemoryKind kind = MemoryKind::None;
  MemoryMask mask = MemoryMask::Causal;
  int64_t tokens = 0;
  int64_t key_dim = 64, nu = 3;     ///< ARMT: width of keys before the feature map, and its order
  double init_std = 1;              ///< of the memory tokens
  bool reset_each_segment = false;  ///< the control experiment: the same layout, the initial state in every segment
  bool exact_sums = false;          ///< sums over the rows of a segment do not depend on which ranks hold them
};

/// Declares the mechanism's parameters (names start with "memory.").
std::unique_ptr<Memory> make_memory(const MemorySettings&, const ModelShape&, Params&);

}  // namespace memring
