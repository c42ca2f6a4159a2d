// Memory: what carries over segment boundaries. A mechanism declares its dependency, and the schedule follows from
// it; it hooks into the cell where its state enters and leaves. It never sees a rank.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/arena.h"
#include "base/diagnostics.h"
#include "base/ids.h"
#include "base/queue.h"
#include "kernels/attention/attention.h"
#include "memory/layout.h"
#include "memory/row_axis.h"
#include "model/llama.h"
#include "model/params.h"

namespace memring {

/// Rows of one part of a layout that are on this rank: where among those here, and which of the part.
struct PartRows {
  std::vector<int32_t> here, number;
};

/// What a cell sees of the segments before its own, and what its loss sends them (Dependency::Append).
struct EarlierSegments {
  std::span<const ConstView<>> states;  ///< [batch, numbers] of each segment
  /// Their adjoints, [1 or 2, batch, numbers] each, accumulated; none: forward. The first is the gradient of what the
  /// state's own projection makes; the second, where there is one, is what goes on into the segment, weighted.
  std::span<const View<>> d_states;
  std::span<const bool> alive;  ///< [batch * segments]: which of the second's get anything
  double weight = 1;            ///< and by what it is multiplied
  RowTable keys;                ///< of theirs (Memory::keys_before)
};

// What a hook finds set in its context, and what it may find empty because it is not there or not wanted:
//
// clang-format off
// | hook                  | hidden [batch, n, dim]    | d_hidden, same shape | states [batch, numbers]                |
// |-----------------------|---------------------------|----------------------|----------------------------------------|
// | compose               | embeddings: writes memory | -                    | state_in: read                         |
// | before_layer          | the layer's input         | -                    | state_in: read; uio's state_out        |
// | keys                  | the layer's input         | -                    | state_in: read; backward: not there    |
// | keep_keys             | -                         | -                    | state_in: read, state_out: written     |
// | after_layer           | the layer's output        | -                    | state_in: read, state_out: written     |
// | after_norm            | output of the final norm  | -                    | state_out: written                     |
// | after_norm_backward   | as there                  | writes memory rows   | d_state_out: read                      |
// | after_layer_backward  | the layer's output        | of it                | d_state_out: read, d_state_in: written |
// | keep_keys_backward    | -                         | -                    | d_state_out: read, d_state_in: written |
// | keys_backward         | -                         | -                    | d_state_in: accumulated                |
// | before_layer_backward | the layer's input         | of it: accumulated   | d_state_in: accumulated; uio's d_state_out: read |
// | compose_backward      | -                         | of the embeddings    | d_state_in: written                    |
// clang-format on

/// What a hook sees of its cell. n: the rows of the layout that are on this rank (behind the last layer: those of them
/// that are wanted, among which are all of the back); numbers: those of a sequence's state in the cell's layers.
struct CellContext {
  Queue& queue;
  RowAxis& axis;
  Arena& scratch;  ///< of a hook's own; given back by its end
  const Params& params;
  Cell cell;
  int64_t batch = 0;              ///< sequences
  Layout layout;                  ///< of the segment, on all ranks
  std::span<const int32_t> rows;  ///< which of its rows are on this rank, ascending
  RowTable past;                  ///< the layout's keys of earlier segments
  View<> hidden, d_hidden;
  ConstView<> k, v;          ///< keep_keys: those of the layer's rows, rotated, [batch, kv_heads, n, head_dim]
  View<> dk, dv;             ///< keep_keys_backward: their gradient, to be added to
  bool initial = false;      ///< the state that enters is the mechanism's initial one
  int64_t state_layer = 0;   ///< the first layer of those whose states the views below hold
  ConstView<> state_in;      ///< empty: initial
  View<> state_out;          ///< empty: nobody reads it
  ConstView<> d_state_out;   ///< empty: zero
  View<> d_state_in;         ///< empty: not wanted (first segment, or the boundary is closed to gradients)
  View<uint8_t> saved;       ///< of the layer's hooks: what they keep for their backward; empty: nothing is kept
  View<double> diagnostics;  ///< one number for each of the memory's: forward hooks reduce theirs into it
  EarlierSegments earlier;   ///< of Pass::Decode where segments append what later ones see
  RopeAngles key_angles;     ///< of Pass::Encode: of the keys that it appends, [1, back, half]
  View<> told;               ///< of Pass::Encode: what it remembers, [batch, layers, back, dim]; empty: nobody asks

  PartRows part(Range numbers) const;
};

/// Each hook has its backward beside it; hooks that a mechanism does not need do nothing.
class Memory {
 public:
  virtual ~Memory() = default;
  virtual Dependency dependency() const = 0;
  /// Numbers of a sequence's state at a boundary, of layer `layer` (RMT: at layer L only), in the accumulation type.
  virtual int64_t state_numbers(int64_t layer) const = 0;
  /// Position id of a segment's first row; the others' follow it.
  virtual int64_t first_position(Pass, int32_t /*segment*/) const { return 0; }
  /// Of a segment with `text` text rows. How many rows it has in front and behind is the same for every segment.
  virtual Layout layout(Pass, int32_t segment, int64_t text) const = 0;
  /// How many keys of all earlier segments a segment sees (EarlierSegments): they have the positions 0, 1, ...
  virtual int64_t keys_before(int64_t /*segment*/) const { return 0; }
  /// What the hooks of one layer keep (CellContext::saved), and the most that any hook takes from `scratch`. The extent
  /// is that of the rows here.
  virtual int64_t saved_bytes(DType, CellExtent) const { return 0; }
  virtual int64_t scratch_bytes(DType, CellExtent, bool /*backward*/) const { return 0; }
  /// What keys() takes from `scratch` for as long as its layer works, behind so many other segments.
  virtual int64_t keys_bytes(DType, CellExtent, int64_t /*segments*/, bool /*backward*/) const { return 0; }
  /// What the products of any hook need of their thread.
  virtual ProductCopies copies(CellExtent, bool /*backward*/) const { return {}; }
  /// The layer that a pass runs: null, and the hooks have it for themselves.
  virtual const Layer* layer(const Llama& llama, Pass, int64_t layer) const { return &llama.layer(layer); }
  /// Of the updates that its layers have of their own.
  virtual int64_t lora_rank() const { return 0; }
  /// What it tells of a step (CellContext::diagnostics): of static storage.
  virtual std::span<const Diagnostic> diagnostics() const { return {}; }

  /// Fills the memory rows of the input embeddings (text rows are there already).
  virtual void compose(CellContext&) {}
  /// Writes d_state_in, or sends the gradient to the parameters of the initial state.
  virtual void compose_backward(CellContext&) {}

  /// Key spans in front of the segment's own (keys of earlier segments: uio's memories, halo's last ones), valid until
  /// the layer has worked with them; in backward with room for their gradient, which keys_backward finds complete.
  virtual std::span<const KeySpan> keys(CellContext&) { return {}; }
  virtual void keys_backward(CellContext&) {}
  /// The layer's own keys and values are there: what of them goes into the state.
  virtual void keep_keys(CellContext&) {}
  virtual void keep_keys_backward(CellContext&) {}

  // `hidden` is the layer's input, and then its output. before_layer may change it in place, also as the output of the
  // layer below: backward hooks find it changed, and read from `saved` what they need of it.
  virtual void before_layer(CellContext&) {}  ///< ARMT reads, UIO appends
  virtual void before_layer_backward(CellContext&) {}
  virtual void after_layer(CellContext&) {}  ///< ARMT writes
  virtual void after_layer_backward(CellContext&) {}

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
  int64_t window = 0, sinks = 0;    ///< halo: tokens that a token sees, 0: back to the segment before; attention sinks
  int64_t segment_length = 0;       ///< halo: text tokens of a segment
  int64_t longest = 0;              ///< halo: tokens of the longest sequence; 0: not known
  bool reset_each_segment = false;  ///< the control experiment: the same layout, the initial state in every segment
  bool exact_sums = false;          ///< sums over the rows of a segment do not depend on which ranks hold them
  int64_t lora_rank = 8;            ///< UIO: of encoder and transfer head
  double lora_alpha = 16;
  bool repeats = false;  ///< sequences ask for their text once more (kRepeatToken), by one more vector
};

/// Declares the mechanism's parameters (names start with "memory."), behind the decoder's.
std::unique_ptr<Memory> make_memory(const MemorySettings&, const Llama&, Params&);

}  // namespace memring
