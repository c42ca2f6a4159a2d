// SPDX-License-Identifier: Apache-2.0
#include "data/positions.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "config/number_list.h"
#include "config/shapes.h"

namespace memring {
namespace {

// Which number of a segment each draw is. Tokens and ids of a sample come of the same draws.
enum CreamNumber : uint32_t { kMode, kHalfSteps, kMiddleEnd };
enum PoseNumber : uint32_t { kFirst, kSkip, kSecondEnd };
enum LongRecipeNumber : uint32_t { kFirstRun, kSlots };

/// In [low, high].
int64_t between(const Random& draws, uint32_t number, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(draws.below(number, static_cast<uint64_t>(high - low + 1)));
}

/// `count` different numbers of [0, bound), in no order: the beginning of a permutation.
template <class T>
void draw_different(uint64_t key, int64_t bound, std::span<T> numbers) {
  for (size_t i = 0; i < numbers.size(); ++i)
    numbers[i] = static_cast<T>(permuted(i, static_cast<uint64_t>(bound), key, 0));
}

}  // namespace

Positions::Positions(const Config& config)
    : config_(config.positions), window_(window_of(config)), seed_(config.run.seed) {
  check(config_.kind != PositionsKind::Plain && config_.target >= window_,
        fmt::format("positions {} of {} ids in a window of {}", word_of(config_.kind), config_.target, window_));
  cream_ = {.window = window_, .factor = config_.target / window_, .sigma = config_.sigma, .form = config_.form};
  split_ = parse_token_ids(config_.split).value_or(std::vector<int32_t>{});
}

Random Positions::random(int64_t sample, int64_t segment) const {
  return {seed_, Purpose::Positions, static_cast<uint64_t>(sample), static_cast<uint32_t>(segment)};
}

Positions::CreamDraw Positions::draw_cream(const Random& draws) const {
  const int64_t continuity = config_.head > 0 ? config_.head : cream_.continuity_ends();
  const int64_t ends = draws.uniform(kMode) < config_.mix ? cream_.relativity_ends() : continuity;
  const auto [low, high] = cream_.middle_ends(ends, cream_.half_steps(draws.uniform(kHalfSteps)));
  return {ends, between(draws, kMiddleEnd, low, high)};
}

int64_t Positions::draw_pose_first(const Random& draws) const { return between(draws, kFirst, 1, (window_ + 1) / 2); }

void Positions::draw(int64_t sample, int64_t segment, std::span<const int32_t> text, std::span<int32_t> ids) const {
  const Random draws = random(sample, segment);
  const auto kind = std::ssize(ids) == window_ ? config_.kind : PositionsKind::Plain;
  switch (kind) {
    case PositionsKind::Plain:
      std::iota(ids.begin(), ids.end(), 0);
      break;
    case PositionsKind::Cream: {
      const auto [ends, middle_end] = draw_cream(draws);
      write_ids(cream_.positions(ends, middle_end), ids);
      break;
    }
    case PositionsKind::Pose:
      write_ids(pose_positions(window_, draw_pose_first(draws), between(draws, kSkip, 0, target() - window_)), ids);
      break;
    case PositionsKind::RandPos:
      draw_different(draws.bits(0), target(), ids);
      randpos_positions(ids);
      break;
    case PositionsKind::LongRecipe: {
      const std::vector<int64_t> sentences = sentence_lengths(text, split_);
      std::vector<int64_t> slots(sentences.size());
      draw_different(draws.bits(kSlots), target() - window_ + std::ssize(sentences), std::span(slots));
      std::ranges::sort(slots);
      longrecipe_spread(sentences, slots, ids);
      longrecipe_positions(between(draws, kFirstRun, 1, (window_ + 1) / 2), ids);
      break;
    }
  }
}

IdRuns Positions::tokens(int64_t sample, int64_t document) const {
  check(document >= window_, fmt::format("a document of {} tokens for a window of {}", document, window_));
  const Random draws = random(sample, 0);
  if (config_.kind == PositionsKind::Pose)
    return pose_tokens(window_, draw_pose_first(draws), between(draws, kSecondEnd, window_, document));
  check(config_.kind == PositionsKind::Cream, "this policy takes the tokens as they come");
  const auto [ends, middle_end] = draw_cream(draws);
  return cream_.tokens(ends, middle_end, document);
}

}  // namespace memring
