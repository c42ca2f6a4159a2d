// The engine on meshes: N ranks must compute what one rank computes. Each rank builds the one-rank answer itself, on a
// communicator that holds only itself.
// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "engine_runs.h"
#include "kernels/elementwise/elementwise.h"
#include "ranks.h"

namespace memring {
namespace {

struct Case {
  const char* name;
  void (*change)(Config&);
};

/// Enough numbers for operators to share them out among threads.
void wide(Config& c) {
  c.model.dim = 64;
  c.model.head_dim = 16;
  c.model.ffn = 96;
  c.segment.length = 100;
  c.data.length = 230;
}

const Case kCases[] = {
    {"rmt, causal, full", [](Config&) {}},
    {"rmt, block, window 2",
     [](Config& c) {
       c.memory.mask = MemoryMask::Block;
       c.tbptt = {.mode = TbpttMode::Window, .window = 2, .recompute = RecomputeWhen::Auto};
     }},
    {"rmt, tied, window 3, recompute",
     [](Config& c) {
       c.model.tied = true;
       c.tbptt = {.mode = TbpttMode::Window, .window = 3, .recompute = RecomputeWhen::Always};
     }},
    {"rmt, full, recompute", [](Config& c) { c.tbptt.recompute = RecomputeWhen::Always; }},
    {"rmt, full, kept", [](Config& c) { c.tbptt.recompute = RecomputeWhen::Never; }},
    {"rmt, reset at each segment", [](Config& c) { c.memory.reset = MemoryReset::Segment; }},
    {"rmt, two segments: fewer than ranks", [](Config& c) { c.data.length = 9; }},
    {"rmt, one sequence", [](Config& c) { c.data.batch = 1; }},
    {"rmt, seven sequences in streams of two",
     [](Config& c) {
       c.data.batch = 7;
       c.data.micro_batch = 2;
     }},
    {"rmt, last segment of one token", [](Config& c) { c.data.length = 36; }},
    {"no memory, one segment",
     [](Config& c) {
       c.memory.kind = MemoryKind::None;
       c.segment.length = 0;
     }},
    {"no memory, one token",
     [](Config& c) {
       c.memory.kind = MemoryKind::None;
       c.segment.length = 0;
       c.data.length = 2;
     }},
    {"rmt, segments of one token, one memory token",
     [](Config& c) {
       c.segment.length = 1;
       c.memory.tokens = 1;
       c.data.length = 6;
     }},
    {"rmt, block, more memory than text",
     [](Config& c) {
       c.segment.length = 2;
       c.memory = {.kind = MemoryKind::Rmt, .reset = MemoryReset::Sequence, .tokens = 9, .mask = MemoryMask::Block};
       c.data.length = 7;
     }},
    {"no memory, independent segments", [](Config& c) { c.memory.kind = MemoryKind::None; }},
    {"armt, full", armt},
    {"armt, full, recompute",
     [](Config& c) {
       armt(c);
       c.tbptt.recompute = RecomputeWhen::Always;
     }},
    {"armt, tied, window 2, recompute",
     [](Config& c) {
       armt(c);
       c.model.tied = true;
       c.tbptt = {.mode = TbpttMode::Window, .window = 2, .recompute = RecomputeWhen::Always};
     }},
    {"armt, reset at each segment",
     [](Config& c) {
       armt(c);
       c.memory.reset = MemoryReset::Segment;
     }},
    {"armt, seven sequences in streams of two, last segment of one token",
     [](Config& c) {
       armt(c);
       c.data.batch = 7;
       c.data.micro_batch = 2;
       c.data.length = 21;
     }},
    {"rmt, wide, three threads",
     [](Config& c) {
       wide(c);
       c.device.threads = 3;
     }},
    {"armt, wide, two threads",
     [](Config& c) {
       armt(c);
       wide(c);
       c.device.threads = 2;
     }},
    {"armt, segments of one token, one memory token",
     [](Config& c) {
       armt(c);
       c.segment.length = 1;
       c.memory.tokens = 1;
       c.data.length = 6;
     }},
    {"halo, the segment before", [](Config& c) { c.memory = {.kind = MemoryKind::Halo}; }},
    {"halo, window longer than a segment, sinks, recompute from every second state",
     [](Config& c) {
       c.memory = {.kind = MemoryKind::Halo, .window = 12, .sinks = 2};
       c.tbptt.recompute = RecomputeWhen::Always;
       c.tbptt.boundaries = 2;
     }},
    {"halo, window shorter than a segment, cut, last segment of one token",
     [](Config& c) {
       c.memory = {.kind = MemoryKind::Halo, .window = 3};
       c.tbptt = {.mode = TbpttMode::Window, .window = 2, .recompute = RecomputeWhen::Always};
       c.data.batch = 7;
       c.data.micro_batch = 2;
       c.data.length = 21;
     }},
    {"halo, reset at each segment",
     [](Config& c) { c.memory = {.kind = MemoryKind::Halo, .reset = MemoryReset::Segment, .sinks = 1}; }},
    {"halo, wide, two threads",
     [](Config& c) {
       c.memory = {.kind = MemoryKind::Halo, .window = 130, .sinks = 4};
       wide(c);
       c.device.threads = 2;
     }},
    {"uio, a random memory, last segment of one token, streams",
     [](Config& c) {
       uio(c);
       c.tbptt.mode = TbpttMode::Unbiased;
       c.data.batch = 3;
       c.data.micro_batch = 2;
       c.data.length = 33;
     }},
    {"uio, wide, two threads, recompute",
     [](Config& c) {
       uio(c);
       wide(c);
       c.memory.tokens = 10;
       c.tbptt = {.mode = TbpttMode::Window, .window = 1, .recompute = RecomputeWhen::Always};
       c.device.threads = 2;
     }},
    {"uio, reset at each segment",
     [](Config& c) {
       uio(c);
       c.memory.reset = MemoryReset::Segment;
     }},
};

/// The cases take the meshes in turn.
MeshConfig mesh_for(const Case& one, int ranks) {
  const std::vector<MeshConfig> all = meshes(ranks);
  const Case* found = std::find_if(std::begin(kCases), std::end(kCases),
                                   [&](const Case& c) { return std::string_view(c.name) == one.name; });
  return all[static_cast<size_t>(found - kCases) % all.size()];
}

class EngineMeshes : public testing::TestWithParam<Case> {};

TEST_P(EngineMeshes, ComputeWhatOneRankComputes) {
  Communicator& group = world();
  Communicator alone = group.split(group.rank(), 0, "alone");
  Config config = small_config();
  GetParam().change(config);
  for (const auto& [dtype, tolerance] : {std::pair{Precision::Fp64, 1e-9}, {Precision::Fp32, 2e-5}}) {
    config.device.dtype = dtype;
    config.mesh = {.data = 1, .segment = 1, .token = 1};
    const int threads = std::exchange(config.device.threads, 1);
    const Result expected = run(config, alone);
    config.device.threads = threads;
    ASSERT_GT(expected.targets, 0);
    // Every mesh in fp64, one of them in fp32.
    const std::vector<MeshConfig> all = meshes(group.size()), one{mesh_for(GetParam(), group.size())};
    for (const MeshConfig& mesh : config.device.dtype == Precision::Fp64 ? all : one) {
      config.mesh = mesh;
      const Result found = run(config, group);
      EXPECT_EQ(found.targets, expected.targets) << word_of(dtype) << ", mesh " << text_of(mesh);
      EXPECT_NEAR(found.nll / expected.nll, 1, tolerance) << word_of(dtype) << ", mesh " << text_of(mesh);
      EXPECT_LE(relative(found.gradients, expected.gradients), tolerance)
          << word_of(dtype) << ", mesh " << text_of(mesh);
    }
  }
}

TEST_P(EngineMeshes, GiveTheSameBitsTwice) {
  Communicator& group = world();
  Config config = small_config();
  GetParam().change(config);
  config.device.dtype = Precision::Fp32;
  config.mesh = mesh_for(GetParam(), group.size());
  const Result once = run(config, group), again = run(config, group);
  EXPECT_EQ(once.nll, again.nll);
  EXPECT_EQ(std::memcmp(once.gradients.data(), again.gradients.data(), once.gradients.size() * sizeof(double)), 0);
}

std::string case_name(const testing::TestParamInfo<Case>& parameter) {
  std::string name = parameter.param.name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, EngineMeshes, testing::ValuesIn(kCases), case_name);

/// Tokens of segment s are s * width ... : a token's embedding belongs to one segment. Only segment `counted` has
/// targets.
class OwnTokens final : public TokenSource {
 public:
  OwnTokens(SequenceShape shape, int64_t counted) : shape_(shape), counted_(counted) {}
  int64_t sequences() const override { return 1; }
  SequenceShape shape() const override { return shape_; }
  void read(int64_t, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      const int64_t p = begin + static_cast<int64_t>(i);
      tokens[i] = static_cast<int32_t>(p);
      targets[i] = p / shape_.segment_length == counted_ ? 0 : kIgnoredTarget;
    }
  }

 private:
  SequenceShape shape_;
  int64_t counted_;
};

class Memories : public testing::TestWithParam<MemoryKind> {};
INSTANTIATE_TEST_SUITE_P(All, Memories, testing::Values(MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Halo),
                         [](const auto& memory) { return std::string(word_of(memory.param)); });

TEST_P(Memories, GradientBeyondAWindowIsExactlyZeroAndWithinItIsNot) {
  Communicator& group = world();
  Config config = small_config();
  config.memory.kind = GetParam();
  constexpr int64_t kSegments = 5, kWidth = 3, kWindow = 2;
  config.data.batch = 1;
  config.data.length = kSegments * kWidth;
  config.segment.length = kWidth;
  config.model.vocab = static_cast<int>(kSegments * kWidth);
  config.mesh = {.data = 1, .segment = group.size(), .token = 1};
  for (const RecomputeWhen recompute : {RecomputeWhen::Always, RecomputeWhen::Never}) {
    config.tbptt = {.mode = TbpttMode::Window, .window = kWindow, .recompute = recompute};
    for (int64_t t = 0; t < kSegments; ++t) {
      const OwnTokens tokens(sequence_shape(config), t);
      const Result result = run(config, group, &tokens);
      for (int64_t s = 0; s <= t; ++s) {
        double size = 0;  // of the gradient towards the embeddings of segment s; they are the first tensor, untied
        for (int64_t i = s * kWidth * config.model.dim; i < (s + 1) * kWidth * config.model.dim; ++i)
          size += std::abs(result.gradients[static_cast<size_t>(i)]);
        if (s / kWindow == t / kWindow)
          EXPECT_GT(size, 0) << "loss of segment " << t << ", embeddings of segment " << s;
        else
          EXPECT_EQ(size, 0) << "loss of segment " << t << ", embeddings of segment " << s;
      }
    }
  }
}

Config unbiased_config(int64_t segments, int ranks) {
  Config config = small_config();
  config.data.batch = 2;
  config.segment.length = 3;
  config.data.length = segments * config.segment.length;
  config.mesh = {.data = 1, .segment = ranks, .token = 1};
  config.tbptt.mode = TbpttMode::Unbiased;
  config.tbptt.cut = 0.3;
  return config;
}

double dot(const std::vector<double>& x, const std::vector<double>& y) {
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
}

/// (ARMT remembers nothing at first.)
class RandomCuts : public testing::TestWithParam<MemoryKind> {};
INSTANTIATE_TEST_SUITE_P(All, RandomCuts, testing::Values(MemoryKind::Rmt, MemoryKind::Halo),
                         [](const auto& memory) { return std::string(word_of(memory.param)); });

// Every pattern of cuts of both sequences, each with its probability.
TEST_P(RandomCuts, HaveTheFullGradientAsTheirMean) {
  constexpr int64_t kSegments = 4;
  constexpr int kPatterns = 1 << (kSegments - 1);
  Config config = unbiased_config(kSegments, world().size());
  config.memory.kind = GetParam();
  config.memory.window = 5;  // longer than a segment
  const double cut = config.tbptt.cut;
  RepeatedGradient gradient(config, world());
  const std::vector<double> full = gradient(Tbptt::full().draw(0, 2, kSegments));
  std::vector<double> mean(full.size());
  double largest_difference = 0;
  for (int first = 0; first < kPatterns; ++first)
    for (int second = 0; second < kPatterns; ++second) {
      BoundaryWeights weights{kSegments, std::vector<double>(2 * kSegments, 1.0)};
      double probability = 1;
      for (int64_t s = 1; s < kSegments; ++s)
        for (const auto& [sequence, pattern] : {std::pair{0, first}, {1, second}}) {
          const bool is_cut = (pattern >> (s - 1)) & 1;
          weights.values[static_cast<size_t>(sequence * kSegments + s)] = is_cut ? 0 : 1 / (1 - cut);
          probability *= is_cut ? cut : 1 - cut;
        }
      const std::vector<double> one = gradient(weights);
      for (size_t i = 0; i < mean.size(); ++i) mean[i] += probability * one[i];
      largest_difference = std::max(largest_difference, relative(one, full));
    }
  EXPECT_LE(relative(mean, full), 1e-12);
  EXPECT_GT(largest_difference, 0.01) << "cuts change nothing here";
}

// As a training run draws them: the mean of many steps lies within five of its standard errors.
TEST(Tbptt, MeanOfDrawnGradientsApproachesTheFullOne) {
  constexpr int64_t kSegments = 6;
  constexpr int kSteps = 300;
  const Config config = unbiased_config(kSegments, world().size());
  RepeatedGradient gradient(config, world());
  const std::vector<double> full = gradient(Tbptt::full().draw(0, 2, kSegments));
  const double size = dot(full, full);
  double sum = 0, squares = 0;
  for (int step = 0; step < kSteps; ++step) {
    const double along = dot(gradient(gradient.executor().draw(step, sequence_shape(config))), full) / size;
    sum += along;
    squares += along * along;
  }
  const double mean = sum / kSteps, variance = squares / kSteps - mean * mean;
  EXPECT_GT(variance, 1e-6);
  EXPECT_NEAR(mean, 1, 5 * std::sqrt(variance / kSteps));
}

}  // namespace
}  // namespace memring
