// SPDX-License-Identifier: Apache-2.0
#include "dist/message_lanes.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>
#include <utility>

namespace memring::scheduling {
namespace {

bool in_lane(const Action& action) {
  return action.verb == Verb::PostReceive || action.verb == Verb::Send || action.verb == Verb::Reduce;
}

/// One list, with a place in it for each of the two queues: what is before it is done.
class LaneRank {
 public:
  explicit LaneRank(ActionSource source) : source_(std::move(source)) {}

  /// As far as the compute queue goes; whether it has moved.
  bool compute() {
    const int64_t before = compute_;
    for (const Action* action; (action = action_at(compute_)); ++compute_) {
      if (in_lane(*action)) started_[{action->kind, action->slot, action->peer}] = compute_;
      if (action->verb == Verb::Wait && started_[{action->kind, action->slot, action->peer}] >= lane_) break;
    }
    forget();
    return compute_ > before;
  }
  /// The lane's head, where what comes before it for the compute queue is done.
  const Action* head() {
    const Action* action = next_in_lane();
    return compute_ > lane_ ? action : nullptr;
  }
  void complete() { ++lane_; }
  bool done() { return !action_at(compute_) && !next_in_lane(); }

  std::string standing() {
    const auto text = [](const Action* action) { return action ? describe(*action) : "its end"; };
    return fmt::format("the lane at {}, the rest at {}", text(next_in_lane()), text(action_at(compute_)));
  }

 private:
  const Action* action_at(int64_t index) {
    while (index - base_ >= std::ssize(actions_) && !ended_) {
      std::vector<Action> more;
      ended_ = !source_(more);
      actions_.insert(actions_.end(), more.begin(), more.end());
    }
    return index - base_ < std::ssize(actions_) ? &actions_[static_cast<size_t>(index - base_)] : nullptr;
  }
  const Action* next_in_lane() {
    const Action* action = action_at(lane_);
    for (; action && !in_lane(*action); action = action_at(lane_)) ++lane_;
    return action;
  }
  void forget() {
    for (; base_ < std::min(compute_, lane_); ++base_) actions_.pop_front();
  }

  ActionSource source_;
  std::deque<Action> actions_;
  int64_t base_ = 0, compute_ = 0, lane_ = 0;
  bool ended_ = false;
  std::map<std::tuple<SlotKind, int32_t, int32_t>, int64_t> started_;  // the last message of a slot with a peer
};

}  // namespace

std::vector<std::string> replay_in_lanes(std::vector<ActionSource> sources) {
  std::vector<LaneRank> ranks;
  ranks.reserve(sources.size());
  for (ActionSource& source : sources) ranks.emplace_back(std::move(source));
  std::vector<std::string> faults;
  for (bool moved = true; moved;) {
    moved = false;
    for (LaneRank& rank : ranks) moved |= rank.compute();
    for (size_t p = 0; p < ranks.size(); ++p) {
      const Action* send = ranks[p].head();
      if (!send || send->verb != Verb::Send) continue;
      LaneRank& reader = ranks[static_cast<size_t>(send->peer)];
      const Action* receive = reader.head();
      if (!receive || receive->verb != Verb::PostReceive || receive->peer != static_cast<int32_t>(p)) continue;
      if (receive->tag != send->tag || receive->kind != send->kind)
        faults.push_back(
            fmt::format("rank {}'s {} meets rank {}'s {}", p, describe(*send), send->peer, describe(*receive)));
      reader.complete();
      ranks[p].complete();
      moved = true;
    }
    const auto reduces = [](LaneRank& rank) { return rank.head() && rank.head()->verb == Verb::Reduce; };
    if (!std::all_of(ranks.begin(), ranks.end(), reduces)) continue;
    for (LaneRank& rank : ranks) rank.complete();
    moved = true;
  }
  for (size_t p = 0; p < ranks.size(); ++p)
    if (!ranks[p].done()) faults.push_back(fmt::format("deadlock of lanes: rank {} has {}", p, ranks[p].standing()));
  return faults;
}

}  // namespace memring::scheduling
