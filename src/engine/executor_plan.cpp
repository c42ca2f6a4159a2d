// What a run takes from the machine: the executor's sizes, found by walking its schedules, and the choice of streams
// and recomputing that fits.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "engine/executor.h"

namespace memring {
namespace {

std::string text_of(const MemoryPlan& plan) {
  std::string text;
  for (const auto& [name, bytes] : plan.parts)
    if (bytes > 0)
      text += fmt::format("{}{} {:.1f}", text.empty() ? "" : ", ", name, static_cast<double>(bytes) / (1 << 20));
  return text + " MiB";
}

}  // namespace

int64_t MemoryPlan::total() const {
  int64_t sum = 0;
  for (const auto& part : parts) sum += part.second;
  return sum;
}

int64_t Executor::slot_bytes(SlotKind kind, int64_t text) const {
  Arena arena;
  if (kind == SlotKind::Saved) {
    runner_.carve_saved(arena, dtype_, micro_batch_, text);
  } else if (kind == SlotKind::Hidden) {
    runner_.carve_hidden(arena, dtype_, micro_batch_, text);
  } else {
    int64_t numbers = 0;
    for (int32_t at = 0; at < depth_; ++at)
      numbers = std::max(numbers, runner_.state_numbers(extent(1).cell(0, 0, at)));
    arena.take(dtype_, {micro_batch_, numbers});
  }
  return arena.peak();
}

template <class F>
int64_t Executor::most_bytes(const F& f) const {
  int64_t most = 0;
  for (const SequenceShape& shape : workload_.shapes) most = std::max(most, f(shape.text_of(0)));
  return most;
}

int64_t Executor::scratch_bytes() const {
  return most_bytes([&](int64_t text) {
    const int64_t own = runner_.own_text_rows(text);
    Arena arena;
    runner_.carve_passing(arena, dtype_, micro_batch_, text, {});
    arena.take(dtype_, {micro_batch_ * own});  // losses
    if (workload_.logits != Workload::Logits::None) arena.take(dtype_, {micro_batch_ * own, llama_.shape().vocab});
    return arena.peak() + runner_.scratch_bytes(dtype_, micro_batch_, text, workload_.backward);
  });
}

int64_t Executor::ring_bytes() const {
  return most_bytes([&](int64_t text) { return runner_.ring_bytes(dtype_, micro_batch_, text, workload_.backward); });
}

int64_t Executor::angle_bytes() const {
  return most_bytes([&](int64_t text) { return runner_.angle_bytes(dtype_, text); });
}

MemoryPlan Executor::plan() {
  MemoryPlan most;
  for (const SequenceShape& shape : workload_.shapes) {
    const Schedule& s = schedule(shape.segments());
    const auto bytes = [&](SlotKind kind) { return s.slots(kind) * slot_bytes(kind, shape.text_of(0)); };
    MemoryPlan slots{{{"boundary states", bytes(SlotKind::State)},
                      {"adjoints", bytes(SlotKind::Adjoint)},
                      {"saved activations", bytes(SlotKind::Saved)},
                      {"hidden rows", bytes(SlotKind::Hidden)}}};
    if (most.parts.empty() || slots.total() > most.total()) most = std::move(slots);
  }
  most.parts.emplace_back("working space", scratch_bytes());
  most.parts.emplace_back("rotary angles", angle_bytes());
  most.parts.emplace_back("ring messages", ring_bytes());
  return most;
}

void Executor::fit(Recompute recompute, const MemoryLimit& limit, int64_t fixed) {
  Communicator& world = mesh_.world();
  // One answer for the world: ranks of a schedule must walk the same one. Hosts may have other limits.
  int64_t lacking = world.size();  // the first rank without enough memory
  const auto fits = [&] {
    const bool lacks = plan().total() + fixed > limit.available;
    lacking = world.size() - world.all_reduce_max(lacks ? world.size() - world.rank() : 0);
    return lacking == world.size();
  };
  policy_.boundaries = recompute.boundaries;
  const auto choose = [&](bool again) {
    policy_.recompute = again;
    schedules_.clear();
    return fits();
  };
  for (;;) {
    if (recompute.when != RecomputeWhen::Always && choose(false)) return;
    if (recompute.when != RecomputeWhen::Never && choose(true)) return;
    if (workload_.micro_batch > 0 || micro_batch_ == 1) break;
    split((micro_batch_ + 1) / 2);
  }
  if (lacking != world.rank()) world.barrier();
  const MemoryPlan last = plan();
  const auto mib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  throw Error(
      ExitCode::Usage,
      fmt::format("this run needs {:.1f} MiB on a rank, and {} allows {:.1f} MiB: parameters and optimizer {:.1f}, {}",
                  mib(last.total() + fixed), limit.name, mib(limit.available), mib(fixed), text_of(last)),
      workload_.micro_batch > 1 ? "Lower data.micro_batch, or set it to 0 (automatic)."
      : recompute.when == RecomputeWhen::Never
          ? "Set tbptt.recompute = auto."
          : "Use a shorter segment.length, tbptt.boundaries, tbptt.mode = window, a smaller model, or more memory.");
}

}  // namespace memring
