// SPDX-License-Identifier: Apache-2.0
#include "engine/execution_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "engine/cell_sizes.h"
#include "engine/teacher_sizes.h"
#include "kernels/common/workspace.h"

namespace memring {
namespace {

using SlotCounts = std::array<int32_t, kSlotKinds>;
using SlotBytes = std::array<int64_t, kSlotKinds>;

constexpr std::array kSlotPurposes = {MemoryPurpose::States, MemoryPurpose::Adjoints, MemoryPurpose::Saved,
                                      MemoryPurpose::Hidden};

/// What the ranks of one token coordinate take, in bytes.
struct RankSizes {
  std::vector<SlotBytes> slots;  ///< of one slot, by shape of the workload
  int64_t scratch = 0, products = 0, angles = 0, ring = 0;
  int64_t workspace = kWorkspaceBytes;  ///< of a device
  int64_t message = 0, collected = 0;   ///< staged: one of the segment axis; those of the token axis at the most
  int64_t results = 0;                  ///< of a cell
  SpaceBytes tables;
  ProductCopies copies;
};

/// The slots of a rank, for the shape of the workload whose slots take most.
struct RankSlots {
  SlotCounts counts{};
  SlotBytes bytes{};  ///< of one

  int64_t total() const { return std::inner_product(counts.begin(), counts.end(), bytes.begin(), int64_t{0}); }
};

/// One choice of streams and recompute policy, seen from every rank of the mesh. Ranks that are alike are looked at
/// once: those of data coordinates with as many sequences, and all segment coordinates by one walk.
class Choice {
 public:
  Choice(const PlanInputs& in, int64_t micro_batch, bool recompute)
      : in_(in), micro_batch_(micro_batch), recompute_(recompute) {
    for (int token = 0; token < in.mesh.token; ++token) sizes_.push_back(sizes(token));
  }

  ExecutionPlan plan(MeshCoord);

 private:
  ExecutionPlan outline(MeshCoord) const;  ///< without what it takes
  bool on_device() const { return in_.numerics.backend == Backend::Cuda; }
  RankSizes sizes(int token) const;
  void add_teacher(RankSizes&, const CellSizes&, const TeacherSizes&) const;
  int64_t terms() const;
  const ScheduleNeeds& needs(const ExecutionPlan& outline, const SequenceShape&);
  RankSlots slots(const ExecutionPlan& outline);
  int32_t messages(const ExecutionPlan& outline);  ///< of the segment axis, under way at the same time
  MemoryPlan memory(const ExecutionPlan& outline);
  void find_most(ExecutionPlan&);

  const PlanInputs& in_;
  int64_t micro_batch_;
  bool recompute_;
  std::vector<RankSizes> sizes_;                                // by token coordinate
  std::map<std::pair<int64_t, int64_t>, ScheduleNeeds> needs_;  // by streams and segments
};

bool wavefront(const PlanInputs& in) { return layer_by_layer(in.memory.dependency()) && in.mesh.segment > 1; }

// A chain of segments leaves a rank idle while others hold its stream's state: two streams a rank fill the gaps. In a
// wavefront all ranks work on one stream, and a second hides how it begins and ends.
int32_t streams_in_flight(const PlanInputs& in) {
  if (wavefront(in)) return 2;
  const bool chain = chains_segments(in.memory.dependency()) && in.mesh.segment > 1;
  return chain ? std::min(2 * in.mesh.segment, Schedule::most_cells_under_way()) : 1;
}

/// The largest that keeps the ranks busy.
int64_t first_micro_batch(const PlanInputs& in) {
  if (in.workload.micro_batch > 0) return in.workload.micro_batch;
  const int64_t most = part_of(in.workload.batch, in.mesh.data, 0).size();
  const int64_t streams = std::max<int64_t>(1, std::min<int64_t>(most, streams_in_flight(in)));
  return std::max<int64_t>((most + streams - 1) / streams, 1);
}

ExecutionPlan Choice::outline(MeshCoord at) const {
  ExecutionPlan plan;
  plan.dependency = in_.memory.dependency();
  plan.mesh = in_.mesh;
  plan.coord = at;
  plan.sequences = part_of(in_.workload.batch, in_.mesh.data, at.data);
  plan.micro_batch = micro_batch_;
  plan.streams = (plan.sequences.size() + micro_batch_ - 1) / micro_batch_;
  plan.layers = static_cast<int32_t>(in_.model.layers);
  Policy& policy = plan.policy;
  policy.backward = in_.workload.backward;
  policy.final_state = in_.workload.final_state;
  policy.recompute = recompute_;
  policy.boundaries = plan.dependency == Dependency::Append ? 0 : in_.recompute.boundaries;
  policy.in_flight = streams_in_flight(in_);
  // With one stream its next window takes the place of the second.
  policy.windows = wavefront(in_) && plan.streams == 1 ? 2 : 1;
  // A cell a layer, or a few where there are thousands of them. There are two windows or one.
  if (wavefront(in_)) plan.depth = std::min(plan.layers, Schedule::most_cells_under_way() / (2 * policy.in_flight));
  // Where a cell is the whole depth, the last backward goes layer by layer: gradients travel while it does.
  if (plan.depth == 1 && in_.mesh.world() > 1) policy.parts = plan.layers;
  return plan;
}

RankSizes Choice::sizes(int token) const {
  const TokenSplit split{in_.mesh.token, token, in_.numerics.block};
  const CellSizes cell(in_.model, in_.memory, in_.dtype, split, cell_uses(in_.workload, in_.tbptt));
  const ExecutionPlan any = outline({});
  RankSizes most;
  std::set<int64_t> layouts;  // by their text
  int64_t keys = 0;
  for (const SequenceShape& shape : in_.workload.shapes) {
    const int64_t text = shape.text_of(0), own = cell.own_text_rows(text, Pass::Decode);
    SlotBytes& slots = most.slots.emplace_back();
    for (int kind = 0; kind < kSlotKinds; ++kind)
      slots[static_cast<size_t>(kind)] = cell.slot(static_cast<SlotKind>(kind), any.extent(1), micro_batch_, text);
    Arena results;
    results.take(in_.dtype, {micro_batch_ * own});                                        // losses
    if (in_.workload.teaching.window > 0) results.take(in_.dtype, {micro_batch_ * own});  // divergences
    if (in_.workload.logits != Workload::Logits::None) results.take(in_.dtype, {micro_batch_ * own, in_.model.vocab});
    if (in_.workload.final_state)  // as it is told
      results.take(in_.dtype, {micro_batch_, in_.model.layers, in_.memory.keys_before(1), in_.model.dim});
    most.scratch = std::max(most.scratch, cell.passing(micro_batch_, text) + results.peak() +
                                              cell.scratch(micro_batch_, shape, in_.workload.backward));
    if (in_.dtype == DType::F32 && !on_device())
      most.copies = most.copies | cell.copies(micro_batch_, text, in_.workload.backward,
                                              in_.workload.logits != Workload::Logits::None);
    const SpaceBytes tables = cell.tables(micro_batch_, shape, on_device());
    most.tables = {std::max(most.tables.host, tables.host), std::max(most.tables.device, tables.device)};
    most.angles = std::max(most.angles, cell.angles(micro_batch_, text));
    if (in_.workload.backward) most.workspace = std::max(most.workspace, cell.workspace(micro_batch_, text));
    most.ring = std::max(most.ring, cell.ring(micro_batch_, text, in_.workload.backward));
    most.message = cell.message(any.extent(1), micro_batch_);
    most.collected = std::max(most.collected, cell.collected(any.extent(1), micro_batch_, text, in_.workload.backward));
    most.results =
        std::max(most.results, cell.results(any.extent(1), micro_batch_, shape,
                                            in_.workload.logits != Workload::Logits::None, in_.workload.final_state));
    layouts.insert({text, shape.text_of(shape.segments() - 1)});
    keys = std::max(keys, cell.keys_before(shape));
  }
  for (const int64_t text : layouts)
    if (on_device()) most.tables = most.tables + cell.kept_tables(text);
  most.tables = most.tables + CellSizes::earlier_keys(keys, on_device());
  if (in_.workload.teaching.window > 0) add_teacher(most, cell, TeacherSizes(in_.model, in_.dtype, split));
  most.products = most.copies.bytes(in_.numerics.products, in_.numerics.threads) + terms();
  return most;
}

/// Who teaches reads before the cell does, and what it gives back stays while the cell works.
void Choice::add_teacher(RankSizes& most, const CellSizes& cell, const TeacherSizes& teacher) const {
  const int64_t raw = in_.workload.raw_tokens();
  int64_t taught = 0, longest = 0;
  std::set<int64_t> windows;
  for (const SequenceShape& shape : in_.workload.shapes) {
    longest = std::max(longest, shape.text_of(0));
    taught = std::max(taught, teacher.taught_bytes(micro_batch_, cell.own_text_rows(shape.text_of(0), Pass::Decode)));
    int64_t end = 0;
    for (int64_t s = 0; s < shape.segments(); ++s) {
      end += shape.text_of(s);
      windows.insert(taught_window(end, in_.workload.teaching.window).size());
    }
  }
  const CellSizes& cells = teacher.cells();
  most.scratch = taught + std::max(most.scratch, teacher.scratch_bytes(micro_batch_, longest, raw));
  most.angles += cells.angles(micro_batch_, raw);
  most.ring = std::max(most.ring, cells.ring(micro_batch_, raw, false));
  most.collected = std::max(most.collected, teacher.collected_bytes(micro_batch_, longest, raw));
  most.tables = most.tables + cells.tables(micro_batch_, {raw, raw}, on_device());
  if (on_device())
    for (const int64_t text : windows) most.tables = most.tables + cells.kept_tables(text);
  if (in_.dtype == DType::F32 && !on_device())
    most.copies = most.copies | cells.copies(micro_batch_, raw, false, false);
}

/// Of exact sums: those of the gradient that takes most.
int64_t Choice::terms() const {
  int64_t most = 0;
  if (in_.numerics.block == 0 || !in_.workload.backward) return most;
  for (const FlatEntry& entry : in_.trained.entries) {
    const int64_t columns = entry.shape[entry.shape.rank() - 1];
    most =
        std::max(most, exact_terms_bytes(in_.dtype, entry.shape.elements() / columns, columns, in_.numerics.threads));
  }
  return most;
}

const ScheduleNeeds& Choice::needs(const ExecutionPlan& outline, const SequenceShape& shape) {
  const std::pair key{outline.streams, shape.segments()};
  const auto found = needs_.find(key);
  if (found != needs_.end()) return found->second;
  return needs_.emplace(key, outline.schedule(in_.tbptt.always_closed(shape.segments())).needs_of_all()).first->second;
}

RankSlots Choice::slots(const ExecutionPlan& outline) {
  RankSlots most;
  for (size_t i = 0; i < in_.workload.shapes.size(); ++i) {
    const RankSlots slots{needs(outline, in_.workload.shapes[i]).slots[static_cast<size_t>(outline.coord.segment)],
                          sizes_[static_cast<size_t>(outline.coord.token)].slots[i]};
    if (slots.total() > most.total()) most = slots;
  }
  return most;
}

int32_t Choice::messages(const ExecutionPlan& outline) {
  int32_t most = 0;
  for (const SequenceShape& shape : in_.workload.shapes)
    most = std::max(most, needs(outline, shape).messages[static_cast<size_t>(outline.coord.segment)]);
  return most;
}

/// Over all ranks: parts of a batch are of one size, or of two, of which the first and the last rank have one each.
void Choice::find_most(ExecutionPlan& plan) {
  for (const int data : {0, in_.mesh.data - 1})
    for (int segment = 0; segment < in_.mesh.segment; ++segment)
      for (int token = 0; token < in_.mesh.token; ++token) {
        const MeshCoord at{data, segment, token};
        const SpaceBytes taken = memory(outline(at)).by_space();
        const int64_t bytes = on_device() ? taken.device : taken.host;
        if (bytes <= plan.most_bytes) continue;
        plan.most_bytes = bytes;
        plan.most_rank = rank_of(in_.mesh, at);
      }
}

MemoryPlan Choice::memory(const ExecutionPlan& plan) {
  MemoryPlan memory;
  const RankSlots slots = this->slots(plan);
  const RankSizes& sizes = sizes_[static_cast<size_t>(plan.coord.token)];
  const auto add = [&](MemoryPurpose purpose, int64_t bytes, int64_t count = 1) {
    const SpaceBytes where = SpaceBytes::of_tensors(bytes, on_device());
    memory.parts.push_back({purpose, count, where.host, where.device});
  };
  for (size_t kind = 0; kind < kSlotKinds; ++kind) add(kSlotPurposes[kind], slots.bytes[kind], slots.counts[kind]);
  add(MemoryPurpose::Scratch, sizes.scratch);
  memory.parts.push_back({MemoryPurpose::Products, 1, sizes.products, on_device() ? sizes.workspace : 0});
  add(MemoryPurpose::Angles, sizes.angles);
  memory.parts.push_back({MemoryPurpose::Tables, 1, sizes.tables.host, sizes.tables.device});
  add(MemoryPurpose::Ring, sizes.ring);
  if (!on_device()) return memory;
  Arena sums;
  sums.take(DType::F64, {kLossSums + std::ssize(in_.memory.diagnostics())});
  memory.parts.push_back({.purpose = MemoryPurpose::Staged, .host = messages(plan) * sizes.message + sizes.collected});
  memory.parts.push_back({MemoryPurpose::Results, 1, sizes.results + 2 * sums.peak(), sums.peak()});
  return memory;
}

ExecutionPlan Choice::plan(MeshCoord at) {
  ExecutionPlan plan = outline(at);
  plan.memory = memory(plan);
  plan.copies = sizes_[static_cast<size_t>(at.token)].copies;
  plan.efficiency = needs(plan, in_.workload.shapes.back()).efficiency;
  find_most(plan);
  plan.most_memory = memory(outline(coord_of(in_.mesh, plan.most_rank)));
  return plan;
}

/// `plan`, of the smallest streams, recomputed; or, where that does not fit and nobody has said how many states to
/// keep, the first of every 2nd, 4th, 8th, ... that does, or else the one that takes least.
ExecutionPlan with_fewer_states(ExecutionPlan plan, PlanInputs in, MeshCoord at, int64_t limit) {
  const bool chain = crosses_boundaries(plan.dependency) && plan.dependency != Dependency::Append;
  if (!chain || !in.workload.backward || in.recompute.when != RecomputeWhen::Auto || in.recompute.boundaries > 0)
    return plan;
  int64_t segments = 1;
  for (const SequenceShape& shape : in.workload.shapes) segments = std::max(segments, shape.segments());
  for (int64_t every = 2; every < segments; every *= 2) {
    in.recompute.boundaries = static_cast<int32_t>(every);
    ExecutionPlan fewer = Choice(in, plan.micro_batch, true).plan(at);
    if (fewer.most_bytes < plan.most_bytes) plan = std::move(fewer);
    if (plan.most_bytes <= limit) break;
  }
  return plan;
}

}  // namespace

CellUses cell_uses(const Workload& workload, const Tbptt& tbptt) {
  return {workload.own_positions(), tbptt.selects_memories() ? 2 : 1, workload.teaching.window > 0};
}

const char* name_of(MemoryPurpose purpose) {
  static constexpr const char* kNames[] = {"parameters and gradients",
                                           "optimizer and checkpoint buffer",
                                           "boundary states",
                                           "adjoints",
                                           "saved activations",
                                           "hidden rows",
                                           "working space",
                                           "products",
                                           "rotary angles",
                                           "tokens and rows",
                                           "ring messages",
                                           "staged messages",
                                           "results"};
  return kNames[static_cast<size_t>(purpose)];
}

SpaceBytes MemoryPlan::by_space() const {
  SpaceBytes all;
  for (const MemoryPart& part : parts) all = all + SpaceBytes{part.count * part.host, part.count * part.device};
  return all;
}

int64_t MemoryPlan::total() const {
  return std::accumulate(parts.begin(), parts.end(), int64_t{0},
                         [](int64_t sum, const MemoryPart& part) { return sum + part.bytes(); });
}

int64_t MemoryPlan::bytes_of(MemoryPurpose purpose) const {
  const auto found =
      std::find_if(parts.begin(), parts.end(), [&](const MemoryPart& part) { return part.purpose == purpose; });
  return found == parts.end() ? 0 : found->bytes();
}

std::string MemoryPlan::text() const {
  const auto listed = [this](int64_t MemoryPart::*column) {
    std::string text;
    for (const MemoryPart& part : parts)
      if (const int64_t bytes = part.count * part.*column; bytes > 0)
        text += fmt::format("{}{} {:.1f}", text.empty() ? "" : ", ", name_of(part.purpose),
                            static_cast<double>(bytes) / (1 << 20));
    return text;
  };
  const std::string device = listed(&MemoryPart::device), host = listed(&MemoryPart::host);
  return device.empty() ? host : fmt::format("{}; on the host {}", device, host);
}

Schedule ExecutionPlan::schedule(std::vector<bool> closed) const {
  const Extent all = extent(std::ssize(closed));
  return Schedule::derive(dependency, all, std::move(closed), mesh, coord, policy);
}

ExecutionPlan plan_execution(const PlanInputs& in, MeshCoord at, int64_t limit) {
  for (int64_t micro_batch = first_micro_batch(in);; micro_batch = (micro_batch + 1) / 2) {
    const bool smallest = in.workload.micro_batch > 0 || micro_batch == 1;
    for (const bool recompute : {false, true}) {
      if (in.recompute.when == (recompute ? RecomputeWhen::Never : RecomputeWhen::Always)) continue;
      const bool last = smallest && (recompute || in.recompute.when == RecomputeWhen::Never);
      ExecutionPlan plan = Choice(in, micro_batch, recompute).plan(at);
      if (plan.most_bytes <= limit) return plan;
      if (last) return with_fewer_states(std::move(plan), in, at, limit);
    }
  }
}

}  // namespace memring
