// SPDX-License-Identifier: Apache-2.0
#include "dist/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "base/error.h"
#include "dist/mesh_arithmetic.h"
#include "dist/rank_actions.h"

namespace memring {

using scheduling::CellOrder, scheduling::CellTask, scheduling::Precedence, scheduling::RankActions;

namespace {

void check_input(Dependency dependency, const Extent& extent, const std::vector<bool>& closed, MeshShape mesh,
                 MeshCoord coord, const Policy& policy) {
  check(extent.streams >= 0 && extent.segments >= 1 && extent.layers >= 1 &&
            extent.layers + 2 <= std::numeric_limits<int16_t>::max(),
        fmt::format("schedule of {} streams, {} segments, {} layers; expected at least 0, 1, 1", extent.streams,
                    extent.segments, extent.layers));
  check(extent.depth == 1 || (extent.depth > 1 && extent.depth <= extent.layers && layer_by_layer(dependency)),
        fmt::format("{} layers cut into {} cells; expected 1, or up to one a layer where states are of layers",
                    extent.layers, extent.depth));
  check(std::ssize(closed) == extent.segments,
        fmt::format("schedule has {} entries of closed boundaries, expected one for each of {} segments", closed.size(),
                    extent.segments));
  check(coord.segment >= 0 && coord.segment < mesh.segment,
        fmt::format("rank {} of a segment axis of {}", coord.segment, mesh.segment));
  check(
      policy.in_flight >= 1 && policy.windows >= 1,
      fmt::format("{} streams in flight with {} windows each, expected at least 1", policy.in_flight, policy.windows));
  check(dependency != Dependency::Append || policy.boundaries == 0,
        fmt::format("every {}. boundary state kept with Append, expected 0: decodes read all memories",
                    policy.boundaries));
  check(policy.parts >= 1, fmt::format("cells in {} parts, expected at least 1", policy.parts));
  const int64_t cells = int64_t{policy.in_flight} * policy.windows * extent.depth;
  check(
      cells <= Schedule::most_cells_under_way(),
      fmt::format("{} streams in flight, {} windows each, {} cells deep: the message tags suffice for {} cells, not {}",
                  policy.in_flight, policy.windows, extent.depth, Schedule::most_cells_under_way(), cells));
}

/// One walk of the order that all ranks share finds what each of these needs; what it emits is dropped.
ScheduleNeeds needs_of(const Precedence& rules, Range ranks) {
  CellOrder order(rules);
  std::vector<RankActions> actions;
  for (int64_t rank = ranks.begin; rank < ranks.end; ++rank) actions.emplace_back(rules, static_cast<int32_t>(rank));
  ScheduleNeeds needs;
  needs.messages.resize(actions.size());
  std::vector<int32_t> under_way(actions.size());
  std::vector<Action> dropped;
  const auto each = [&](const auto& f) {
    for (size_t i = 0; i < actions.size(); ++i) {
      f(actions[i]);
      for (const Action& action : dropped) {
        if (action.verb == Verb::PostReceive || action.verb == Verb::Send) ++under_way[i];
        if (action.verb == Verb::Wait) --under_way[i];
        needs.messages[i] = std::max(needs.messages[i], under_way[i]);
      }
      dropped.clear();
    }
  };
  for (CellTask next; order.next(next);) each([&](RankActions& rank) { rank.follow(dropped, next, order); });
  each([&](RankActions& rank) { rank.end(dropped); });

  for (const RankActions& rank : actions) {
    auto& slots = needs.slots.emplace_back();
    for (int kind = 0; kind < kSlotKinds; ++kind)
      slots[static_cast<size_t>(kind)] = rank.used(static_cast<SlotKind>(kind));
  }
  if (order.makespan() > 0)
    needs.efficiency = static_cast<double>(order.busy()) / (static_cast<double>(order.makespan()) * rules.ranks());
  return needs;
}

}  // namespace

int32_t Schedule::most_cells_under_way() { return kTags / RankActions::kSentKinds; }

struct Schedule::Simulation {
  const Precedence rules;
  const std::vector<bool> closed;
  const MeshShape mesh;
  const MeshCoord coord;
  CellOrder order;
  RankActions actions;
  std::optional<ScheduleNeeds> needs;  ///< of this rank

  Simulation(Precedence rules_of_all, std::vector<bool> closed_boundaries, MeshShape shape, MeshCoord coordinate)
      : rules(std::move(rules_of_all)),
        closed(std::move(closed_boundaries)),
        mesh(shape),
        coord(coordinate),
        order(rules),
        actions(rules, coord.segment) {}

  void restart() {
    order = CellOrder(rules);
    actions = RankActions(rules, coord.segment);
  }

  const ScheduleNeeds& found() {
    if (!needs) needs = needs_of(rules, {coord.segment, coord.segment + 1});
    return *needs;
  }
};

Schedule::Schedule() = default;
Schedule::Schedule(Schedule&&) noexcept = default;
Schedule& Schedule::operator=(Schedule&&) noexcept = default;
Schedule::~Schedule() = default;

Schedule Schedule::derive(Dependency dependency, Extent extent, std::vector<bool> closed, MeshShape mesh,
                          MeshCoord coord, Policy policy) {
  if (closed.empty()) closed.assign(static_cast<size_t>(std::max(extent.segments, 0)), false);
  check_input(dependency, extent, closed, mesh, coord, policy);
  Schedule schedule;
  Precedence rules(dependency, extent, closed, mesh.segment, policy);
  schedule.simulation_ = std::make_unique<Simulation>(std::move(rules), std::move(closed), mesh, coord);
  return schedule;
}

ScheduleNeeds Schedule::needs_of_all() const { return needs_of(simulation_->rules, {0, simulation_->mesh.segment}); }
bool Schedule::next_actions(std::vector<Action>& out) {
  return simulation_->actions.next_actions(out, simulation_->order);
}
void Schedule::restart() { simulation_->restart(); }
int32_t Schedule::slots(SlotKind kind) const { return slots()[static_cast<size_t>(kind)]; }
const std::array<int32_t, kSlotKinds>& Schedule::slots() const { return simulation_->found().slots.front(); }
double Schedule::efficiency() const { return simulation_->found().efficiency; }
Dependency Schedule::dependency() const { return simulation_->rules.dependency(); }
Extent Schedule::extent() const { return simulation_->rules.extent(); }
const std::vector<bool>& Schedule::closed() const { return simulation_->closed; }
const Policy& Schedule::policy() const { return simulation_->rules.policy(); }
MeshShape Schedule::mesh() const { return simulation_->mesh; }
MeshCoord Schedule::coord() const { return simulation_->coord; }

const char* name_of(Verb verb) {
  static constexpr const char* kNames[] = {"Forward",     "Rebuild", "Recompute", "Backward", "Clear", "Add",
                                           "PostReceive", "Send",    "Wait",      "Reduce",   "Free"};
  return kNames[static_cast<int>(verb)];
}

const char* name_of(SlotKind kind) {
  static constexpr const char* kNames[] = {"State", "Adjoint", "Saved", "Hidden"};
  return kNames[static_cast<int>(kind)];
}

Cell Extent::cell(int32_t stream, int32_t segment, int32_t level, Pass pass) const {
  const Range own = part_of(layers, depth, level);
  const int64_t begin = level == 0 ? -1 : own.begin, end = level + 1 == depth ? layers + 1 : own.end;
  return {.stream = stream,
          .segment = segment,
          .layer = static_cast<int16_t>(begin),
          .layers = static_cast<int16_t>(end - begin),
          .pass = pass};
}

Cell Extent::whole(const Cell& part) const {
  for (int32_t level = depth - 1; level > 0; --level)
    if (const Cell whole = cell(part.stream, part.segment, level, part.pass); part.layer >= whole.layer) return whole;
  return cell(part.stream, part.segment, 0, part.pass);
}

std::string describe(const Action& action) {
  const Cell& cell = action.cell;
  if (action.verb == Verb::Reduce)
    return fmt::format("{} layers {}..{}", name_of(action.verb), cell.layer, cell.layer + cell.layers - 1);
  std::string text = fmt::format("{} stream {} segment {} layers {}..{}", name_of(action.verb), cell.stream,
                                 cell.segment, cell.layer, cell.layer + cell.layers - 1);
  if (cell.pass == Pass::Encode) text += " encode";
  if (action.verb > Verb::Add || action.verb == Verb::Clear) {
    text += fmt::format(" {} {}", name_of(action.kind), action.slot);
    if (action.peer >= 0) text += fmt::format(" peer {} tag {}", action.peer, action.tag);
    return text;
  }
  const char* kind = action.verb >= Verb::Backward ? "Adjoint" : "State";
  if (action.in != kNoSlot) text += fmt::format(" in {} {}", kind, action.in);
  if (action.out != kNoSlot) text += fmt::format(" out {} {}", kind, action.out);
  if (action.saved != kNoSlot) text += fmt::format(" saved {}", action.saved);
  if (action.hidden != kNoSlot) text += fmt::format(" hidden {}", action.hidden);
  return text;
}

}  // namespace memring
