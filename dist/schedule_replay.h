// The small machine on which the validator replays schedules: what slots hold, messages under way, a rank's place in
// its list. Private to schedule_validator.cpp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <array>
#include <map>
#include <string>
#include <vector>

#include "dist/schedule_validator.h"

namespace memring::scheduling {

/// Of a state or adjoint, `at` is the boundary (before segment `at`) and `depth` the cell; of rows, `at` is the segment
/// and `depth` the number of its cells, from the bottom, that they are of.
struct Value {
  SlotKind kind = SlotKind::State;
  Pass pass = Pass::Decode;
  int32_t stream = 0, at = 0, depth = 0;
  bool gradient = false;  ///< of hidden rows: theirs
  bool operator==(const Value&) const = default;
};

inline std::string words(const Value& value) {
  switch (value.kind) {
    case SlotKind::State:
    case SlotKind::Adjoint:
      return fmt::format("the {} of cell {} at boundary {} of stream {}",
                         value.kind == SlotKind::State ? "state" : "adjoint", value.depth, value.at, value.stream);
    case SlotKind::Saved:
      return fmt::format("the rows of {} cells of segment {} of stream {}", value.depth, value.at, value.stream);
    case SlotKind::Hidden:
      break;
  }
  return fmt::format("the hidden rows{} above cell {} of segment {} of stream {}", value.gradient ? "' gradient" : "",
                     value.depth - 1, value.at, value.stream);
}

/// Messages from one rank to another with one tag: the n-th send meets the n-th receive.
struct Channel {
  int64_t sends = 0, receives = 0;
  std::map<int64_t, Value> under_way;
};

struct Slot {
  enum Status { Empty, Receiving, Sending, Full } status = Empty;
  Value value;
  bool read = false;
  // Of the message under way; `message` is its number in the channel.
  Channel* channel = nullptr;
  int64_t message = 0;
  int32_t peer = -1, tag = 0;
};

struct Rank {
  ActionSource source;
  std::vector<Action> window;
  size_t at = 0;
  int64_t index = 0;  ///< of the action window[at] in the whole list
  std::array<std::vector<Slot>, kSlotKinds> slots;
  int32_t final_state = kNoSlot;       ///< its Free must come next
  std::vector<int64_t> backward_left;  ///< by layer, from -1
  size_t reduced = 0;                  ///< groups of layers
  int32_t reduced_to = 0;              ///< from the top down to this layer

  /// The action to be done now, or none at the end.
  const Action* current() {
    if (at == window.size()) {
      window.clear();
      at = 0;
      if (!source(window)) window.clear();
    }
    return at < window.size() ? &window[at] : nullptr;
  }
};

}  // namespace memring::scheduling
