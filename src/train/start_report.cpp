// SPDX-License-Identifier: Apache-2.0
#include "train/start_report.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "config/shapes.h"
#include "train/frozen_weights.h"

namespace memring {
namespace {

std::string tbptt_text(const TbpttConfig& config, const Tbptt& tbptt, int64_t segments) {
  if (tbptt.selects_memories())
    return config.mode == TbpttMode::Window
               ? fmt::format(" (to the memories of the nearest {} segments)", config.window)
               : fmt::format(" (to a random {} of at most {} memories, re-weighted)", config.window, segments - 1);
  if (config.mode == TbpttMode::Window) return fmt::format(" {}", config.window);
  if (config.mode == TbpttMode::Unbiased)
    return fmt::format(" (cut {}; relative variance of what reaches over 1 boundary {:.2g}, over all {} {:.2g})",
                       config.cut, tbptt.path_variance(1), segments - 1, tbptt.path_variance(segments - 1));
  return "";
}

std::string passes_text(const RunConfig& run, const DataConfig& data, const Dataset& dataset) {
  const double count = data.kind == DataKind::Tokens ? passes(run, data, dataset.sequences()) : 0;
  return count > 0 ? fmt::format(", {:.3g} passes in this run", count) : "";
}

std::string lora_text(const LoraConfig& lora) {
  return lora.rank == 0 ? "" : fmt::format(", LoRA of rank {} on {}", lora.rank, lora.targets);
}

std::string memory_text(const MemoryConfig& m) {
  if (m.kind == MemoryKind::Rmt) return fmt::format("rmt ({} tokens, {})", m.tokens, word_of(m.mask));
  if (m.kind == MemoryKind::Uio) return fmt::format("uio ({} tokens a segment, rank {})", m.tokens, m.lora_rank);
  if (m.kind == MemoryKind::Armt) return fmt::format("armt ({} tokens, keys of {}, nu {})", m.tokens, m.key_dim, m.nu);
  if (m.kind == MemoryKind::Halo)
    return fmt::format("halo ({}{})", m.window > 0 ? fmt::format("window of {} tokens", m.window) : "a segment",
                       m.sinks > 0 ? fmt::format(", {} sinks", m.sinks) : "");
  return std::string(word_of(m.kind));
}

double mib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

/// Of the rank that takes most.
std::string planned_text(const MemoryPlan& plan, bool device) {
  const SpaceBytes bytes = plan.by_space();
  if (!device) return fmt::format("{:.1f} MiB planned on a rank: {}", mib(bytes.host), plan.text());
  return fmt::format("{:.1f} MiB planned on a rank's device and {:.1f} on its host: {}", mib(bytes.device),
                     mib(bytes.host), plan.text());
}

std::string recompute_text(const Policy& policy) {
  if (!policy.recompute) return "activations kept";
  return policy.boundaries > 0 ? fmt::format("recompute from 1 state of {}", policy.boundaries) : "recompute";
}

/// `host`: of rank 0.
std::string limit_text(const Engine::SmallestLimit& smallest, const std::string& host) {
  const std::string text = fmt::format("{:.1f} MiB a rank", mib(smallest.limit.available));
  return smallest.rank == 0 ? fmt::format("{} on {} ({})", text, host, smallest.limit.name)
                            : fmt::format("{}, the least, of rank {} ({})", text, smallest.rank, smallest.limit.name);
}

}  // namespace

std::string hosts_text(const std::vector<std::pair<std::string, int>>& hosts) {
  constexpr size_t kNamed = 8;
  const size_t named = hosts.size() <= kNamed ? hosts.size() : kNamed - 1;
  std::string text;
  for (size_t i = 0; i < named; ++i)
    text += fmt::format("{}{} on {}", i == 0 ? "" : ", ", hosts[i].second, hosts[i].first);
  if (named == hosts.size()) return text;
  int others = 0;
  for (size_t i = named; i < hosts.size(); ++i) others += hosts[i].second;
  return text + fmt::format(", {} on {} more hosts", others, hosts.size() - named);
}

StartFacts start_facts(const Config& config, Session& session, Mesh& mesh, Engine& engine, const Dataset& dataset,
                       const Curriculum& curriculum) {
  Executor& executor = engine.executor();
  const SequenceShape& shape = engine.workload().shapes.back();
  const ExecutionPlan& plan = executor.plan();
  auto hosts = session.hosts();
  const int64_t all = engine.params().layout().size, trained = engine.params().trained_layout().size;
  std::vector<std::pair<std::string, std::string>> lines = {
      {"run", config.run.dir},
      {"ranks",
       fmt::format("{} as data x segment x token = {}, {}", session.size(), describe(mesh.shape()), hosts_text(hosts))},
      {"compute",
       fmt::format("{}, {} thread{} a rank ({}), {}, {}", engine.queue().device() ? "cuda" : "cpu",
                   engine.queue().threads(), engine.queue().threads() == 1 ? "" : "s", engine.numerics().threads.reason,
                   instruction_sets(engine.queue()), word_of(engine.numerics().precision))},
      {"model",
       fmt::format("{} parameters{}{}, memory {}", all, trained < all ? fmt::format(", {} trained", trained) : "",
                   lora_text(config.lora), memory_text(config.memory))},
      {"data",
       fmt::format("{}, {} segments each{}{}", dataset.description(), shape.segments(),
                   curriculum.stages().size() > 1 ? fmt::format(", in {} stages", curriculum.stages().size()) : "",
                   passes_text(config.run, config.data, dataset))},
      {"schedule", fmt::format("{} streams of {} sequences a rank group, tbptt {}{}, {}, efficiency {:.2f}",
                               plan.streams, plan.micro_batch, word_of(config.tbptt.mode),
                               tbptt_text(config.tbptt, executor.tbptt(), shape.segments()),
                               recompute_text(plan.policy), plan.efficiency)},
      {"memory", planned_text(engine.most_plan(), engine.queue().device() != nullptr)},
      {"limit", limit_text(engine.smallest_limit(), session.host())},
  };
  if (const PositionsConfig& p = config.positions; p.kind != PositionsKind::Plain)
    lines.insert(lines.begin() + 5,
                 {"positions",
                  fmt::format("{}, {} to {} tokens ({:.4g} windows), {}", word_of(p.kind), grouped(window_of(config)),
                              grouped(p.target), static_cast<double>(p.target) / static_cast<double>(window_of(config)),
                              samples_of_documents(config) ? "chosen from documents" : "as they come")});
  if (config.objective.kind != ObjectiveKind::Auto)
    lines.insert(lines.begin() + 5, {"objective", settings_text(config, "objective")});
  if (config.rope.scaling != RopeScaling::None)
    lines.insert(lines.begin() + 4, {"rope", settings_text(config, "rope")});
  return {std::move(lines), std::move(hosts)};
}

void warn_about_mixed_hosts(Communicator& world, Engine& engine, RunLog& log) {
  const auto isa = static_cast<int64_t>(engine.queue().isa());
  const int64_t most = world.all_reduce_max(isa), least = -world.all_reduce_max(-isa);
  if (most != least)
    log.warning(fmt::format(
        "ranks compute with different instruction sets, {} to {}: set device.isa = {} for the same "
        "bits on every host",
        name_of(static_cast<Isa>(least)), name_of(static_cast<Isa>(most)), name_of(static_cast<Isa>(least))));
}

void warn_about_threads(const NodeShare& node, const ThreadCount& count, RunLog& log) {
  if (const std::string idle = idle_cores(count, node.ranks); !idle.empty()) log.warning(idle);
  if (const std::string ignored = ignored_limits(count); !ignored.empty()) log.warning(ignored);
}

double passes(const RunConfig& run, const DataConfig& data, int64_t sequences) {
  const double text = static_cast<double>(sequences);
  const double steps = static_cast<double>(run.steps) * static_cast<double>(data.batch) / text;
  const double tokens = static_cast<double>(run.tokens) / (text * static_cast<double>(data.length));
  if (run.steps == 0 || run.tokens == 0) return steps + tokens;
  return std::min(steps, tokens);
}

void warn_about_repeats(const DataConfig& data, const Dataset& dataset, RunLog& log) {
  if (data.batch <= dataset.sequences()) return;
  log.warning(fmt::format(
      "a batch of {} takes {} of data.path up to {} times: data.batch = {}, or a shorter data.length or more text, has "
      "no repeats",
      data.batch, dataset.sequences() == 1 ? "the one sequence" : fmt::format("the {} sequences", dataset.sequences()),
      (data.batch + dataset.sequences() - 1) / dataset.sequences(), dataset.sequences()));
}

void warn_about_unreached(const Config& config, const SequenceShape& shape, RunLog& log) {
  if (!is_adapter(config) || config.tbptt.mode == TbpttMode::Unbiased)
    return;  // whose cuts may have been all there are
  const bool chain = config.memory.kind == MemoryKind::Rmt || config.memory.kind == MemoryKind::Armt;
  const char* reached =
      config.memory.kind == MemoryKind::None ? "choose tensors that the loss depends on"
      : shape.segments() == 1
          ? "each sequence is one segment, and what only writes to a memory learns from the next one: a shorter "
            "segment.length, or longer sequences"
      : config.memory.reset == MemoryReset::Segment
          ? "memory.reset = segment lets nothing through to the next segment: memory.reset = sequence"
      : chain && config.tbptt.mode == TbpttMode::Window && config.tbptt.window == 1
          ? "tbptt.window = 1 lets no gradient through to the segment before: a larger one, or tbptt.mode = full"
          : "choose a wider pattern, for example memory";
  log.warning(
      fmt::format("no gradient reaches what is trained (model.train = {}): all of it was 0 in the first step; {}",
                  config.model.train, reached));
}

void print_schedule(Executor& executor, int rank) {
  Schedule& schedule = executor.main_schedule();
  schedule.restart();
  std::vector<Action> actions;
  Terminal out(1);
  while (schedule.next_actions(actions))
    for (const Action& action : actions) out.write(fmt::format("rank {} {}\n", rank, describe(action)));
}

void warn_about_idle_ranks(Engine& engine, MeshShape mesh, RunLog& log) {
  const int64_t segments = engine.workload().shapes.back().segments();
  const double efficiency = engine.executor().plan().efficiency;
  if (const int64_t batch = engine.workload().batch; batch < mesh.data)
    log.warning(
        fmt::format("{} sequences on a data axis of {} ranks: {} of {} ranks have no work; use mesh.segment or "
                    "mesh.token for them, or a larger data.batch",
                    batch, mesh.data, (mesh.data - batch) * mesh.segment * mesh.token, mesh.world()));
  if (segments < mesh.segment)
    log.warning(fmt::format(
        "{} segments on a segment axis of {} ranks: {} ranks have no work; use mesh.data for them, or a shorter "
        "segment.length",
        segments, mesh.segment, mesh.segment - segments));
  else if (crosses_boundaries(engine.dependency()) && mesh.segment > 1 && efficiency < 0.8)
    log.warning(fmt::format(
        "the schedule keeps the ranks busy {:.0f} % of the time: a larger data.batch, or mesh.token or mesh.data in "
        "place of mesh.segment, fills the gaps",
        100 * efficiency));
}

}  // namespace memring
