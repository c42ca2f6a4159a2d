// SPDX-License-Identifier: Apache-2.0
#include "app/inspect_positions.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "config/shapes.h"
#include "data/dataset.h"
#include "data/distances.h"
#include "data/positions.h"
#include "io/file.h"
#include "train/run_directory.h"

namespace memring {
namespace {

constexpr int64_t kShownSamples = 8, kShownRuns = 8;
constexpr int64_t kCountedSamples = 1000, kCountedPairs = 60'000'000;  // a few seconds
constexpr int64_t kBars = 16, kBarWidth = 40;

/// The ids of segment 0 of a run's samples.
class FirstSegments {
 public:
  explicit FirstSegments(const Config& config)
      : batch_(config.data.batch), shape_(stages_of(config).back()), policy_(config) {
    if (policy_.reads_text()) text_ = open_training_dataset(config);
  }
  IdRuns runs(int64_t sample) const {
    std::vector<int32_t> ids(static_cast<size_t>(shape_.text_of(0)));
    if (text_)
      text_->at(sample / batch_, shape_)->positions(sample % batch_, 0, ids);
    else
      policy_.draw(sample, 0, {}, ids);
    return runs_of(ids);
  }

 private:
  int64_t batch_;
  SequenceShape shape_;
  Positions policy_;
  std::unique_ptr<Dataset> text_;
};

std::string runs_text(const IdRuns& runs) {
  std::string text;
  for (size_t i = 0; i < runs.size(); ++i) {
    if (std::ssize(runs) > kShownRuns && i == kShownRuns - 1) return text + fmt::format(" ... ({} runs)", runs.size());
    text += fmt::format("{}{}{}", i == 0 ? "" : " ", runs[i].begin,
                        runs[i].size() == 1 ? "" : fmt::format("..{}", runs[i].end - 1));
  }
  return text;
}

void print_distances(const FirstSegments& samples, int64_t target) {
  const auto runs = static_cast<int64_t>(samples.runs(0).size()), pairs = runs * (runs + 1) / 2;
  if (pairs > kCountedPairs) {
    fmt::print("distances        not counted: a sample has {} runs\n", grouped(runs));
    return;
  }
  DistanceCoverage coverage(target);
  for (int64_t i = 0; i < std::clamp<int64_t>(kCountedPairs / pairs, 1, kCountedSamples); ++i)
    coverage.add(samples.runs(i));
  fmt::print("distances        the share of {} samples that cover one, on average over each part of the target\n",
             coverage.samples());
  const int64_t bars = std::min(kBars, target);
  const auto shares = coverage.shares(bars);
  const int width = static_cast<int>(grouped(target).size());
  for (int64_t b = 0; b < bars; ++b) {
    const double share = shares[static_cast<size_t>(b)];
    fmt::print("    {:>{}} .. {:>{}}  {:.3f} {}\n", grouped(target * b / bars), width,
               grouped(target * (b + 1) / bars - 1), width, share,
               std::string(static_cast<size_t>(std::lround(share * kBarWidth)), '#'));
  }
  fmt::print("covered          {:.1f} % of the target's distances by a sample, {:.1f} % by all {} together\n",
             100 * coverage.mean_share(), 100 * coverage.covered_share(), coverage.samples());
}

}  // namespace

void print_positions(const std::string& path, const std::vector<std::string>& overrides) {
  const Config config = load_training_config(folder_at(path) ? config_file(path) : path, overrides).config;
  const PositionsConfig& p = config.positions;
  if (p.kind == PositionsKind::Plain) {
    fmt::print("{}: positions plain: 0..{} in every segment\n", path, window_of(config) - 1);
    return;
  }
  fmt::print("{}: positions {}, a window of {} tokens for a target of {}\n", path, word_of(p.kind),
             grouped(window_of(config)), grouped(p.target));
  if (const int64_t front = memory_rows_of(config.memory.kind, config.memory.tokens).front; front > 0)
    fmt::print("memory rows      0..{} stand before the text, whose ids below they shift by {}\n", front - 1, front);
  const FirstSegments samples(config);
  for (int64_t i = 0; i < kShownSamples; ++i) fmt::print("sample {:<9} {}\n", i, runs_text(samples.runs(i)));
  print_distances(samples, p.target);
}

}  // namespace memring
