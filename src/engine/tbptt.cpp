// SPDX-License-Identifier: Apache-2.0
#include "engine/tbptt.h"

namespace memring {

BoundaryWeights Tbptt::draw(int64_t segments) const {
  BoundaryWeights weights;
  weights.closed.resize(static_cast<size_t>(segments), false);
  if (window_ > 0)
    for (int64_t s = window_; s < segments; s += window_) weights.closed[static_cast<size_t>(s)] = true;
  return weights;
}

}  // namespace memring
