// Positions: the policy that draws the position ids of training text, so that a model learns a long window from a short
// one (data/position_samplers.h). A pure function of (seed, sample, segment): the same on any mesh and after any
// restart, with nothing to save.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "config/config.h"
#include "data/position_samplers.h"

namespace memring {

class Positions {
 public:
  /// Of a configuration whose positions.kind is not plain, and that validate_training has found right.
  explicit Positions(const Config&);

  int64_t window() const { return window_; }  ///< text tokens of a segment that get drawn ids
  int64_t target() const { return config_.target; }
  bool reads_text() const { return config_.kind == PositionsKind::LongRecipe; }

  /// Ids of the text of a segment of a sample (its number counts from the start of the run): ascending, below target().
  /// A text of another length than the window keeps 0, 1, 2, ... `text`: its tokens where reads_text(), else empty.
  void draw(int64_t sample, int64_t segment, std::span<const int32_t> text, std::span<int32_t> ids) const;

  /// cream and pose: which tokens of a document of window() or more get the ids of segment 0.
  IdRuns tokens(int64_t sample, int64_t document) const;

 private:
  struct CreamDraw {
    int64_t ends, middle_end;
  };
  Random random(int64_t sample, int64_t segment) const;
  CreamDraw draw_cream(const Random&) const;
  int64_t draw_pose_first(const Random&) const;

  PositionsConfig config_;
  int64_t window_;
  uint64_t seed_;
  Cream cream_;
  std::vector<int32_t> split_;
};

}  // namespace memring
