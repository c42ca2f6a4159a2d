// SPDX-License-Identifier: Apache-2.0
#include "train/curriculum.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "base/random.h"

namespace memring {

Curriculum::Curriculum(std::vector<SequenceShape> stages, const CurriculumConfig& config, uint64_t seed, int64_t fewest)
    : stages_(std::move(stages)), config_(config), seed_(seed), fewest_(fewest) {}

SequenceShape Curriculum::shape(const TrainState& state) const {
  const SequenceShape full = stage(state);
  const Random random(seed_, Purpose::Curriculum, static_cast<uint64_t>(state.step));
  if (random.uniform(0) >= config_.shorter || full.segments() <= fewest_) return full;
  const auto fewer = static_cast<uint64_t>(full.segments() - fewest_);  // from fewest_ to one less than all
  const int64_t segments = fewest_ + static_cast<int64_t>(random.below(1, fewer));
  return {segments * full.segment_length, full.segment_length};
}

std::optional<double> Curriculum::advance(TrainState& state, const SequenceShape& shape,
                                          const ReducedStep& reduced) const {
  constexpr double kMemory = 0.8;  // of the running average: some 5 batches
  ++state.stage_steps;
  // Short sequences are easy: they do not tell whether the stage has been learned.
  if (reduced.finite && shape == stage(state))
    state.stage_loss =
        state.stage_loss == 0 ? reduced.loss() : kMemory * state.stage_loss + (1 - kMemory) * reduced.loss();
  if (learned(state)) return std::nullopt;
  const bool low = config_.promote_loss > 0 && state.stage_loss > 0 && state.stage_loss < config_.promote_loss &&
                   state.stage_steps >= config_.min_steps;
  const bool long_enough = config_.max_steps > 0 && state.stage_steps >= config_.max_steps && state.stage < last();
  if (!low && !long_enough) return std::nullopt;
  ++state.stage;
  state.stage_steps = 0;
  return std::exchange(state.stage_loss, 0);
}

std::string Curriculum::unfinished(const TrainState& state) const {
  if (learned(state) || (config_.promote_loss == 0 && state.stage == last())) return "";
  const SequenceShape& shape = stage(state);
  return fmt::format(
      "the curriculum is not finished: stage {} of {} ({} segment{} of {} tokens) is not learned after {} step{}{}",
      state.stage + 1, stages_.size(), shape.segments(), shape.segments() == 1 ? "" : "s", shape.text_of(0),
      state.stage_steps, state.stage_steps == 1 ? "" : "s",
      config_.promote_loss > 0 ? fmt::format(", with a loss of {:.4f} where curriculum.promote_loss is {}",
                                             state.stage_loss, config_.promote_loss)
                               : "");
}

bool Curriculum::over(const TrainState& state) const {
  return config_.after > 0 && learned(state) && state.stage_steps >= config_.after;
}

double Curriculum::left(const TrainState& state) const {
  if (config_.after == 0 || !learned(state)) return 1;
  return std::max(0.0, 1 - static_cast<double>(state.stage_steps) / static_cast<double>(config_.after));
}

double Curriculum::rate(const TrainState& state) const {
  return std::pow(static_cast<double>(stage(state).segments()), -config_.lr_power);
}

}  // namespace memring
