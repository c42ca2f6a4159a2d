// Plain values that every folder shares: what a memory depends on, what a cell of the schedule is, where a row stands.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/orders.h"
#include "base/view.h"

namespace memring {

/// What crosses a segment boundary, and therefore which cells may run at the same time (DESIGN.md, section 1).
enum class Dependency : uint8_t {
  None,        ///< nothing: all segments at once
  TopToInput,  ///< the last layer's output enters the next segment's input (RMT): segments of a sequence in turn
  LayerLocal,  ///< a state per layer (ARMT): wavefront
  Halo,        ///< keys and values of the previous segment (Transformer-XL)
  Affine,      ///< a state under an affine map (linear attention)
  Append       ///< keys and values of all earlier segments (UIO)
};

// What plans and schedules ask of a dependency.
/// Something crosses: the first segment's memory is not that of all.
constexpr bool crosses_boundaries(Dependency d) { return d != Dependency::None; }
/// A segment waits for the one before it.
constexpr bool chains_segments(Dependency d) {
  return d == Dependency::TopToInput || d == Dependency::LayerLocal || d == Dependency::Halo;
}
/// It waits layer by layer, so that a segment may be cut into cells of some layers: a wavefront.
constexpr bool layer_by_layer(Dependency d) { return d == Dependency::LayerLocal || d == Dependency::Halo; }

/// The memory that a model has, and how memory rows attend: rmt's to each other, uio's (Prefix) to the text.
enum class MemoryKind : uint8_t { None, Rmt, Armt, Uio, Halo };
enum class MemoryMask : uint8_t { Causal, Block, Prefix };

/// Memory rows of a segment, in front of its text and behind it.
struct MemoryRows {
  int64_t front = 0, back = 0;
  constexpr int64_t all() const { return front + back; }
};
constexpr MemoryRows memory_rows_of(MemoryKind kind, int64_t tokens) {
  switch (kind) {
    case MemoryKind::None:
    case MemoryKind::Halo:
      break;
    case MemoryKind::Rmt:
      return {tokens, tokens};  // the same memory, to be read and to be written
    case MemoryKind::Armt:
    case MemoryKind::Uio:
      return {0, tokens};
  }
  return {};
}

/// How rotary frequencies are scaled for a window longer than the one that a model was trained in (model/rotary.h).
enum class RopeScaling : uint8_t { None, Linear, Ntk, Dynamic, Parts, Yarn, RevisedYarn, Llama3, LongRope };

enum class Pass : uint8_t { Decode, Encode };

inline constexpr std::array<Pass, 2> kPasses = {Pass::Decode, Pass::Encode};
/// Those that go over a segment: where later segments see what a segment was compressed to, it is encoded as well.
constexpr std::span<const Pass> passes_of(Dependency d) { return {kPasses.data(), d == Dependency::Append ? 2U : 1U}; }

/// A piece of work: layers [layer, layer + layers) of one segment of one stream. Layer -1 is compose and embed; layer L
/// (the number of decoder layers) is final norm, head and loss.
struct Cell {
  int32_t stream = 0, segment = 0;
  int16_t layer = -1, layers = 0;
  Pass pass = Pass::Decode;
  bool operator==(const Cell&) const = default;
};

/// A row of a segment's layout. `position` feeds RoPE; visibility comes from order alone: the row sees every key whose
/// order k satisfies from <= k <= to, and itself (k == order). Orders are unique within a segment and count from its
/// start; keys of earlier segments have negative ones. No `from` leaves an attention sink behind (base/orders.h).
struct Row {
  int32_t position = 0, order = 0, from = 0, to = 0;
  bool operator==(const Row&) const = default;
};

/// How a sequence is cut into segments: all of one length but the last, which may be short.
struct SequenceShape {
  int64_t length = 1;          ///< text tokens
  int64_t segment_length = 0;  ///< 0: the whole sequence is one segment

  int64_t segments() const {
    return segment_length > 0 ? std::max<int64_t>((length + segment_length - 1) / segment_length, 1) : 1;
  }
  int64_t text_of(int64_t segment) const {
    return segment_length > 0 ? std::min(segment_length, length - segment * segment_length) : length;
  }
  bool operator==(const SequenceShape&) const = default;
};

/// Numbers from `begin` on, `end` excluded.
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

/// In place of a target's id: the position is not counted, and its gradient is zero.
constexpr int32_t kIgnoredTarget = -100;

struct MeshShape {
  int data = 1, segment = 1, token = 1;
  int world() const { return data * segment * token; }
  bool operator==(const MeshShape&) const = default;
};

/// A rank's place in the mesh; `token` runs fastest.
struct MeshCoord {
  int data = 0, segment = 0, token = 0;
};

/// Which checkpoint to go on from: the newest, the newest sound one, or that of a step and no other.
struct ResumeFrom {
  enum class What : uint8_t { Newest, Sound, Step } what = What::Newest;
  int64_t step = 0;  ///< of What::Step
};

/// One tensor in a flat buffer: what checkpoints, shards and reports know about parameters.
struct FlatEntry {
  std::string name;
  Shape shape;
  int64_t offset = 0;  ///< in elements
};

/// The layout of a flat buffer of parameters: their places tile it, in any order.
struct FlatBuffer {
  std::vector<FlatEntry> entries;
  int64_t size = 0;  ///< in elements
};

}  // namespace memring
