// SPDX-License-Identifier: Apache-2.0
#include "engine/tbptt.h"

#include <cmath>
#include <utility>

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

Tbptt Tbptt::nearest(int64_t memories) {
  Tbptt tbptt;
  tbptt.nearest_ = memories;
  return tbptt;
}

Tbptt Tbptt::reservoir(int64_t memories, uint64_t seed) {
  Tbptt tbptt;
  tbptt.reservoir_ = memories;
  tbptt.seed_ = seed;
  return tbptt;
}

std::vector<int32_t> last_alive(int64_t places, std::span<const int32_t> draws) {
  const auto segments = static_cast<int32_t>(draws.size());
  std::vector<int32_t> last(draws.size(), segments), reservoir;
  for (int32_t s = 0; s < segments; ++s) {
    if (s < places) {
      reservoir.push_back(s);
      continue;
    }
    const int32_t place = draws[static_cast<size_t>(s)];
    const int32_t leaves = place < places ? std::exchange(reservoir[static_cast<size_t>(place)], s) : s;
    last[static_cast<size_t>(leaves)] = s;
  }
  return last;
}

BoundaryWeights Tbptt::draw(int64_t step, int64_t sequences, int64_t segments) const {
  BoundaryWeights weights{segments, std::vector<double>(static_cast<size_t>(segments), 1.0)};
  for (int64_t s = 0; window_ > 0 && s < segments; s += window_) weights.values[static_cast<size_t>(s)] = 0;
  weights.reservoir = reservoir_;
  for (int32_t s = 0; nearest_ > 0 && s < segments; ++s)
    weights.last.push_back(static_cast<int32_t>(std::min(s + nearest_, segments)));
  for (int64_t sequence = 0; reservoir_ > 0 && sequence < sequences; ++sequence) {
    const Random random(seed_, Purpose::Reservoir, static_cast<uint64_t>(step), static_cast<uint32_t>(sequence));
    std::vector<int32_t> draws;
    for (int64_t s = 0; s < segments; ++s)
      draws.push_back(static_cast<int32_t>(random.below(static_cast<uint32_t>(s), static_cast<uint64_t>(s) + 1)));
    const std::vector<int32_t> last = last_alive(reservoir_, draws);
    weights.last.insert(weights.last.end(), last.begin(), last.end());
  }
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
