// What the engine reads a batch through: tokens and targets by sequence and position, a segment at a time, so that the
// length of a sequence costs no memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"

namespace memring {

/// In place of a token: the learned vector that asks for the text so far once more (objective.kind = reconstruct). It
/// stands at the start of a segment, in the same one of all sequences.
constexpr int32_t kRepeatToken = -1;

class TokenSource {
 public:
  virtual ~TokenSource() = default;
  virtual int64_t sequences() const = 0;    ///< of the batch, over the whole world
  virtual SequenceShape shape() const = 0;  ///< of each sequence
  /// Tokens and targets at positions [begin, begin + tokens.size()) of a sequence; the target of position p is the
  /// token at p + 1 (kIgnoredTarget: not counted). Throws Error(Data) naming file and position when a token
  /// cannot be had.
  virtual void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const = 0;
  /// Whether each sequence has position ids of its own; otherwise the text of a segment has 0, 1, 2, ...
  virtual bool own_positions() const { return false; }
  /// Those of a segment's text, [shape().text_of(segment)]: ascending, from 0 or more on. What the rows mean to each
  /// other follows from their order, not from these.
  virtual void positions(int64_t /*sequence*/, int64_t /*segment*/, std::span<int32_t> /*positions*/) const {}
};

}  // namespace memring
