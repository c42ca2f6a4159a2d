// Cases of schedules that several tests derive, walk and judge.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "dist/schedule.h"
#include "dist/schedule_validator.h"

namespace memring {

using scheduling::ActionSource, scheduling::ScheduleTask;

using Lists = std::vector<std::vector<Action>>;

struct Case {
  Dependency dependency = Dependency::TopToInput;
  int32_t ranks = 1, streams = 1, segments = 1;
  int32_t window = 0;  // tbptt: 0 = full
  Policy policy = {};
  int32_t depth = 1;

  Extent extent() const { return {streams, segments, std::max(depth, 2), depth}; }
};

inline std::string describe(const Case& c) {
  return fmt::format(
      "{} ranks, {} streams, {} segments, window {}, dependency {}, backward {}, recompute {}, final_state {}, "
      "in_flight {}, windows {}, boundaries {}, parts {}, depth {}{}",
      c.ranks, c.streams, c.segments, c.window, static_cast<int>(c.dependency), c.policy.backward, c.policy.recompute,
      c.policy.final_state, c.policy.in_flight, c.policy.windows, c.policy.boundaries, c.policy.parts, c.depth,
      c.policy.messages == Messages::InOrder ? ", messages in order" : "");
}

inline std::vector<bool> closed_of(const Case& c) {
  std::vector<bool> closed(c.segments, false);
  for (int32_t s = 0; c.window > 0 && s < c.segments; s += c.window) closed[s] = true;
  return closed;
}

inline Schedule derive(const Case& c, int rank) {
  return Schedule::derive(c.dependency, c.extent(), closed_of(c), {1, c.ranks, 1}, {0, rank, 0}, c.policy);
}

inline std::vector<Schedule> derive_all(const Case& c) {
  std::vector<Schedule> schedules;
  for (int rank = 0; rank < c.ranks; ++rank) schedules.push_back(derive(c, rank));
  return schedules;
}

inline std::vector<Action> actions_of(Schedule& schedule) {
  std::vector<Action> all, some;
  while (schedule.next_actions(some)) all.insert(all.end(), some.begin(), some.end());
  return all;
}

inline Lists lists_of(const Case& c) {
  Lists lists;
  for (Schedule& schedule : derive_all(c)) lists.push_back(actions_of(schedule));
  return lists;
}

inline ScheduleTask task_of(const Case& c) {
  ScheduleTask task{c.dependency, c.extent(), closed_of(c), c.policy, {}};
  for (const Schedule& s : derive_all(c)) task.slots.push_back(s.slots());
  return task;
}

/// The lists must stay.
inline std::vector<ActionSource> sources_of(const Lists& lists) {
  std::vector<ActionSource> sources;
  for (const auto& actions : lists) {
    sources.emplace_back([&actions, done = false](std::vector<Action>& out) mutable {
      out = actions;
      return !std::exchange(done, true);
    });
  }
  return sources;
}

inline std::vector<std::string> faults_of(const ScheduleTask& task, const Lists& lists) {
  return validate(task, sources_of(lists));
}

inline bool computes(const Action& action) { return action.verb <= Verb::Backward; }

inline bool travels(const Action& action) {
  return action.verb == Verb::PostReceive || action.verb == Verb::Send || action.verb == Verb::Wait;
}

inline std::string joined(const std::vector<std::string>& faults) { return fmt::format("{}", fmt::join(faults, "\n")); }

// Cases that between them use every kind of action.
inline std::vector<Case> small_cases() {
  return {
      {.ranks = 1, .streams = 2, .segments = 4},
      {.ranks = 2, .streams = 2, .segments = 5, .policy = {.in_flight = 2}},
      {.ranks = 3, .streams = 2, .segments = 7, .policy = {.recompute = false, .in_flight = 2}},
      {.ranks = 2, .streams = 1, .segments = 9, .window = 4, .policy = {.final_state = true}},
      {.ranks = 2, .streams = 2, .segments = 5, .policy = {.backward = false, .in_flight = 2}},
      {.dependency = Dependency::None, .ranks = 2, .streams = 2, .segments = 3},
      {.dependency = Dependency::LayerLocal,
       .ranks = 2,
       .segments = 7,
       .window = 3,
       .policy = {.windows = 2},
       .depth = 3},
      {.ranks = 2, .segments = 9, .policy = {.boundaries = 3}},
      {.ranks = 2, .streams = 2, .segments = 3, .policy = {.parts = 2}},
      {.dependency = Dependency::LayerLocal, .segments = 3, .policy = {.parts = 2}},
      {.dependency = Dependency::LayerLocal, .ranks = 1, .segments = 4, .policy = {.final_state = true}, .depth = 2},
      {.dependency = Dependency::Halo, .ranks = 3, .segments = 5, .policy = {.boundaries = 2}, .depth = 2},
      {.dependency = Dependency::Append, .ranks = 1, .segments = 3},
      {.dependency = Dependency::Append, .ranks = 2, .streams = 2, .segments = 5, .policy = {.in_flight = 2}},
      {.dependency = Dependency::Append, .ranks = 3, .segments = 7, .policy = {.recompute = false, .parts = 2}},
      {.dependency = Dependency::Append, .ranks = 2, .segments = 4, .policy = {.backward = false}}};
}

}  // namespace memring
