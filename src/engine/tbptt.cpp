// SPDX-License-Identifier: Apache-2.0
#include "engine/tbptt.h"

#include <cmath>

#include "base/random.h"

namespace memring {

std::vector<bool> BoundaryWeights::closed(Range sequences) const {
  std::vector<bool> closed(static_cast<size_t>(segments));
  for (int64_t s = 1; s < segments; ++s) {
    bool open = false;
    for (int64_t sequence = sequences.begin; sequence < sequences.end && !open; ++sequence) open = at(sequence, s) != 0;
    closed[static_cast<size_t>(s)] = !open;
  }
  return closed;
}

Tbptt Tbptt::windows(int64_t length) {
  Tbptt tbptt;
  tbptt.window_ = length;
  return tbptt;
}

Tbptt Tbptt::unbiased(double cut, uint64_t seed) {
  Tbptt tbptt;
  tbptt.cut_ = cut;
  tbptt.seed_ = seed;
  return tbptt;
}

BoundaryWeights Tbptt::draw(int64_t step, int64_t sequences, int64_t segments) const {
  BoundaryWeights weights{segments, std::vector<double>(static_cast<size_t>(segments), 1.0)};
  for (int64_t s = 0; window_ > 0 && s < segments; s += window_) weights.values[static_cast<size_t>(s)] = 0;
  if (cut_ == 0) return weights;
  weights.values.clear();
  for (int64_t sequence = 0; sequence < sequences; ++sequence) {
    const Random random(seed_, Purpose::Truncation, static_cast<uint64_t>(step), static_cast<uint32_t>(sequence));
    for (int64_t s = 0; s < segments; ++s)
      weights.values.push_back(random.uniform(static_cast<uint32_t>(s)) < cut_ ? 0 : 1 / (1 - cut_));
  }
  return weights;
}

std::vector<bool> Tbptt::always_closed(int64_t segments) const {
  return (cut_ > 0 ? full() : *this).draw(0, 1, segments).closed({0, 1});
}

double Tbptt::path_variance(int64_t boundaries) const {
  return std::pow(1 - cut_, -static_cast<double>(boundaries)) - 1;
}

}  // namespace memring
