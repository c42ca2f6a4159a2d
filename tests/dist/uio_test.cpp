// UIO's gradients over memories: which loss reaches which memory, and that a random choice, weighted, has the full
// gradient as its mean (specs in tests/golden/README.md; the algebra: Li et al. 2024).
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <numeric>
#include <utility>

#include "engine_runs.h"
#include "ranks.h"

namespace memring {
namespace {

Config uio_config(int64_t segments) {
  Config config = small_config();
  uio(config);
  config.data.batch = 2;
  config.data.length = segments * config.segment.length;
  config.mesh = {.data = 1, .segment = world().size(), .token = 1};
  config.tbptt.mode = TbpttMode::Unbiased;
  config.tbptt.window = 1;
  return config;
}

BoundaryWeights with_last(int64_t segments, std::vector<int32_t> last) {
  BoundaryWeights weights{segments, std::vector<double>(static_cast<size_t>(segments), 1.0)};
  weights.last = std::move(last);
  return weights;
}

/// Memories that no loss reaches.
std::vector<int32_t> none_alive(int64_t segments) {
  std::vector<int32_t> last(static_cast<size_t>(segments));
  std::iota(last.begin(), last.end(), 0);
  return last;
}

std::vector<double> minus(std::vector<double> x, const std::vector<double>& y) {
  std::transform(x.begin(), x.end(), y.begin(), x.begin(), std::minus<>());
  return x;
}

// Every path of both sequences' reservoirs, all of the same probability.
TEST(Uio, MeanOverAllReservoirsIsTheFullGradient) {
  constexpr int64_t kSegments = 4;
  RepeatedGradient gradient(uio_config(kSegments), world());
  const std::vector<double> full = gradient(Tbptt::full().draw(0, 2, kSegments));
  for (const int32_t places : {1, 2}) {
    // What is drawn before the last loss: behind that of segment 1, if one place is all there is, and 2.
    std::vector<std::vector<int32_t>> paths;
    for (int32_t first = 0; first < (places == 1 ? 2 : 1); ++first)
      for (int32_t second = 0; second < 3; ++second)
        paths.push_back(last_alive(places, std::vector{0, first, second, 3}));
    std::vector<double> mean(full.size()), unweighted(full.size());
    double largest_difference = 0;
    for (const auto& one : paths)
      for (const auto& other : paths) {
        std::vector<int32_t> last = one;
        last.insert(last.end(), other.begin(), other.end());
        BoundaryWeights weights = with_last(kSegments, std::move(last));
        weights.reservoir = places;
        const std::vector<double> found = gradient(weights);
        weights.reservoir = 0;
        const std::vector<double> as_drawn = gradient(weights);
        for (size_t i = 0; i < mean.size(); ++i) {
          mean[i] += found[i] / static_cast<double>(paths.size() * paths.size());
          unweighted[i] += as_drawn[i] / static_cast<double>(paths.size() * paths.size());
        }
        largest_difference = std::max(largest_difference, relative(found, full));
      }
    EXPECT_LE(relative(mean, full), 1e-12) << places;
    EXPECT_GT(largest_difference, 0.01) << "the draws change nothing here";
    EXPECT_GT(relative(unweighted, full), 0.01) << "without weights the mean is another";
  }
}

/// Z[t][s]: what the loss of segment t sends through the memory of segment s, of all gradients in one row; both
/// sequences.
std::vector<std::vector<std::vector<double>>> parts_of(RepeatedGradient& gradient, int64_t segments) {
  std::vector<std::vector<std::vector<double>>> parts(static_cast<size_t>(segments));
  const auto reaching = [&](int64_t memory, int64_t segment) {
    std::vector<int32_t> last = none_alive(segments);
    last[static_cast<size_t>(memory)] = static_cast<int32_t>(segment);
    return gradient(with_last(segments, std::move(last)));
  };
  for (int64_t t = 1; t < segments; ++t)
    for (int64_t s = 0; s < t; ++s) parts[static_cast<size_t>(t)].push_back(minus(reaching(s, t), reaching(s, t - 1)));
  return parts;
}

// The full gradient is what no memory takes part in, and the sum of all parts (incremental = joint). Without its weight
// a reservoir of S lets a share of min(1, S / n) of each through: the less, the smaller it is. In the original's
// algebra, with other random weights of this shape, 0.67, 0.44 and 0.16 of the gradient are missing for S = 1, 2 and 4.
TEST(Uio, TheFullGradientIsTheDirectOneAndAPartForEachPairOfSegments) {
  constexpr int64_t kSegments = 8;
  Config config = uio_config(kSegments);
  config.model.layers = 3;
  config.model.dim = 32;
  config.model.head_dim = 8;
  config.model.ffn = 64;
  config.model.train = "memory";
  config.memory.lora_rank = 4;
  config.segment.length = 8;
  config.data.length = kSegments * config.segment.length;
  RepeatedGradient gradient(config, world());
  const std::vector<double> full = gradient(Tbptt::full().draw(0, 2, kSegments)),
                            direct = gradient(with_last(kSegments, none_alive(kSegments)));
  const auto parts = parts_of(gradient, kSegments);
  const auto sum = [&](const auto& share) {
    std::vector<double> all(full.size());
    for (size_t t = 1; t < parts.size(); ++t)
      for (size_t s = 0; s < t; ++s)
        for (size_t i = 0; i < all.size(); ++i) all[i] += share(t, s) * parts[t][s][i];
    return all;
  };
  const std::vector<double> through = sum([](size_t, size_t) { return 1.0; });
  EXPECT_LE(relative(through, minus(full, direct)), 1e-12);
  EXPECT_LE(relative(gradient(Tbptt::nearest(2).draw(0, 2, kSegments)),
                     minus(full, sum([](size_t t, size_t s) { return t - s > 2 ? 1.0 : 0.0; }))),
            1e-12);
  for (const auto& [places, original] : {std::pair{1.0, 0.67}, {2.0, 0.44}, {4.0, 0.16}}) {
    const double bias =
        distance(
            sum([&, places = places](size_t t, size_t) { return 1 - std::min(1.0, places / static_cast<double>(t)); }),
            {}) /
        distance(full, {});
    EXPECT_GT(bias, 0.6 * original) << places;
    EXPECT_LT(bias, 1.4 * original) << places;
    RecordProperty(fmt::format("bias_of_{}", places), fmt::format("{:.2f}", bias));
  }
}

// Parameters behind a cut get exactly nothing: with no memory alive the encoder; and its last layer ever.
TEST(Uio, WhatNoLossReachesIsExactlyZero) {
  constexpr int64_t kSegments = 4;
  RepeatedGradient gradient(uio_config(kSegments), world());
  const std::vector<double> full = gradient(Tbptt::full().draw(0, 2, kSegments)),
                            direct = gradient(with_last(kSegments, none_alive(kSegments)));
  for (const FlatEntry& entry : gradient.layout().entries) {
    const auto size = [&](const std::vector<double>& all) {
      return distance({all.begin() + entry.offset, all.begin() + entry.offset + entry.shape.elements()}, {});
    };
    if (entry.name.starts_with("memory.encoder.layers.1.")) {
      EXPECT_EQ(size(full), 0) << entry.name;
    }
    if (entry.name.starts_with("memory.encoder.") || entry.name == "memory.token") {
      EXPECT_EQ(size(direct), 0) << entry.name;
    } else {
      EXPECT_GT(size(direct), 0) << entry.name;
    }
  }
}

}  // namespace
}  // namespace memring
