// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "base/surroundings.h"
#include "config/lora_targets.h"
#include "config/number_list.h"
#include "config/shapes.h"
#include "kernels/exact_sum/exact_sum.h"
#include "model/tensor_names.h"

namespace memring {
namespace {

Isa isa_of(LoopIsa wanted) {
  const Isa best = best_isa();
  const Isa isa = wanted == LoopIsa::Baseline ? Isa::Baseline
                  : wanted == LoopIsa::Avx2   ? Isa::Avx2
                  : wanted == LoopIsa::Avx512 ? Isa::Avx512
                                              : best;
  if (isa > best)
    throw Error(ExitCode::Usage,
                fmt::format("device.isa is {}, but this CPU offers {} at the most", word_of(wanted), name_of(best)),
                "Set device.isa = auto.");
  return isa;
}

Tbptt tbptt_of(const EngineConfig& config, Dependency dependency) {
  if (dependency == Dependency::Append)
    return config.tbptt.mode == TbpttMode::Window     ? Tbptt::nearest(config.tbptt.window)
           : config.tbptt.mode == TbpttMode::Unbiased ? Tbptt::reservoir(config.tbptt.window, config.run.seed)
                                                      : Tbptt::full();
  return config.tbptt.mode == TbpttMode::Window     ? Tbptt::windows(config.tbptt.window)
         : config.tbptt.mode == TbpttMode::Unbiased ? Tbptt::unbiased(config.tbptt.cut, config.run.seed)
                                                    : Tbptt::full();
}

bool strict(const RunConfig& run) { return run.deterministic == Determinism::Strict; }

Params::Gradients gradients_of(const RunConfig& run, const Workload& workload) {
  return !workload.backward ? Params::Gradients::None
         : strict(run)      ? Params::Gradients::Exact
                            : Params::Gradients::Plain;
}

/// What a rank of the world has left of its limit, at the least, the first rank that has no more, and its limit.
struct Least {
  int64_t left;
  int rank;
  MemoryLimit limit;
};
Least least_of(Communicator& world, const MemoryLimit& mine, int64_t taken) {
  struct Row {
    int64_t left, total, available;
    char name[104];
  };
  Row row{mine.available - taken, mine.total, mine.available, {}};
  mine.name.copy(row.name, sizeof(row.name) - 1);
  std::vector<Row> all(static_cast<size_t>(world.size()));
  world.all_gather(View<uint8_t>(reinterpret_cast<uint8_t*>(all.data()), {world.size(), int64_t{sizeof(Row)}}),
                   ConstView<uint8_t>(reinterpret_cast<const uint8_t*>(&row), {int64_t{sizeof(Row)}}));
  const auto least =
      std::min_element(all.begin(), all.end(), [](const Row& a, const Row& b) { return a.left < b.left; });
  return {least->left, static_cast<int>(least - all.begin()), {least->name, least->total, least->available}};
}

/// What to make smaller, for a memory of this dependency; `thinned`: states are as few as they can be.
std::string smaller(Dependency dependency, bool taught, bool thinned) {
  const char* const of_memory = dependency == Dependency::Halo     ? "a smaller memory.window, "
                                : dependency == Dependency::Append ? "fewer memory.tokens, "
                                                                   : "tbptt.mode = window, ";
  return fmt::format("Use a shorter segment.length, {}{}{}a smaller model, or more memory.",
                     taught ? "a smaller objective.window, " : "", of_memory,
                     dependency == Dependency::Append || thinned ? "" : "tbptt.boundaries, ");
}

/// `plan`: all that is taken by the rank that takes most; `needed`: of the memory that the limit is about.
[[noreturn]] void refuse(const MemoryPlan& plan, int64_t needed, const Workload& workload, const TbpttConfig& tbptt,
                         const MemoryLimit& limit, Dependency dependency) {
  const bool thinned = tbptt.recompute == RecomputeWhen::Auto && tbptt.boundaries == 0;  // has been tried
  const auto mib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  throw Error(ExitCode::Usage,
              fmt::format("this run needs {:.1f} MiB on a rank, and {} allows {:.1f} MiB, {} bytes less: {} MiB",
                          mib(needed), limit.name, mib(limit.available), needed - limit.available, plan.text()),
              workload.micro_batch > 1                  ? "Lower data.micro_batch, or set it to 0 (automatic)."
              : tbptt.recompute == RecomputeWhen::Never ? "Set tbptt.recompute = auto."
                                                        : smaller(dependency, workload.teaching.window > 0, thinned));
}

/// One a process, opened when it is first asked for: memory that engines leave to each other lies on it.
Device* device_of(const DeviceConfig& config, const NodeShare& node) {
  if (config.kind != DeviceKind::Cuda) return nullptr;
  static const std::unique_ptr<Device> device =
      open_device(device_share(node, std::max(device_count(), 1)).ordinal);  // none: it says so
  return device.get();
}

RotarySettings rotary_settings(const Config& config) {
  const RopeConfig& r = config.rope;
  return {.theta = config.model.rope_theta,
          .scaling = r.scaling,
          .factor = r.factor,
          .original_length = r.original_length,
          .beta_fast = r.beta_fast,
          .beta_slow = r.beta_slow,
          .low_freq_factor = r.low_freq_factor,
          .high_freq_factor = r.high_freq_factor,
          .attention_factor = r.attention_factor > 0 ? std::optional(r.attention_factor) : std::nullopt,
          .mscale = r.mscale,
          .mscale_all_dim = r.mscale_all_dim,
          .truncate = r.truncate,
          .short_factor = parse_numbers<double>(r.short_factor).value_or(std::vector<double>()),
          .long_factor = parse_numbers<double>(r.long_factor).value_or(std::vector<double>())};
}

LoraShape lora_shape(const LoraConfig& c) {
  if (c.rank == 0) return {};
  return {.rank = c.rank,
          .scale = c.alpha / c.rank,
          .targets = parse_lora_targets(c.targets).value_or(std::vector<LoraTarget>())};
}

int64_t longest_sequence(const Config& config) {
  int64_t longest = 0;
  for (const auto& shapes : {stages_of(config), eval_shapes(config)})
    for (const SequenceShape& shape : shapes) longest = std::max(longest, shape.length);
  return longest;
}

}  // namespace

ModelShape model_shape(const Config& config) {
  const ModelConfig& m = config.model;
  return {.layers = m.layers,
          .dim = m.dim,
          .heads = m.heads,
          .kv_heads = m.kv_heads,
          .head_dim = m.head_dim,
          .ffn = m.ffn,
          .vocab = m.vocab,
          .rotary = rotary_settings(config),
          .norm_eps = m.norm_eps,
          .init_std = m.init_std,
          .embedding_std = m.embedding_std,
          .tied = m.tied,
          .lora = lora_shape(config.lora)};
}

MemorySettings memory_settings(const Config& config) {
  const MemoryConfig& m = config.memory;
  return {.kind = m.kind,
          .mask = m.mask,
          .tokens = m.tokens,
          .key_dim = m.key_dim,
          .nu = m.nu,
          .init_std = m.init_std,
          .window = m.window,
          .sinks = m.sinks,
          .segment_length = config.segment.length,
          .longest = longest_sequence(config),
          .reset_each_segment = m.reset == MemoryReset::Segment,
          .exact_sums = strict(config.run),
          .lora_rank = m.lora_rank,
          .lora_alpha = m.lora_alpha,
          .repeats = config.objective.kind == ObjectiveKind::Reconstruct};
}

Model model_of(const Config& config) {
  Model model(model_shape(config), memory_settings(config));
  train_named(model.params, config.model.train);
  if (config.objective.kind == ObjectiveKind::Distil) expect_frozen_decoder(model.params, config.model.train);
  return model;
}

Numerics numerics(const EngineConfig& config, const NodeShare& node) {
  const DeviceConfig& device = config.device;
  Numerics n;
  Device* const opened = device_of(device, node);
  n.precision = device.dtype != Precision::Auto                        ? device.dtype
                : !opened && cpu_has_amx_bf16() && !strict(config.run) ? Precision::Bf16
                                                                       : Precision::Fp32;
  n.dtype = n.precision == Precision::Fp64 ? DType::F64 : DType::F32;
  n.queue.products = n.precision == Precision::Bf16 ? Products::Bf16 : Products::F32;
  n.queue.isa = isa_of(device.isa);
  n.threads = thread_count(device.threads, node.cores);
  n.queue.threads = n.threads.threads;
  n.queue.block = strict(config.run) ? config.run.block : 0;
  if (opened) {
    n.queue.backend = Backend::Cuda;
    n.queue.device = opened;
  }
  return n;
}

std::string instruction_sets(const Queue& queue) {
  if (const Device* device = queue.device()) return device->facts().name + " " + device->facts().capability;
  std::string text = name_of(queue.isa());
  for (const char* name : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_CPU_ISA_HINTS", "DNNL_CPU_ISA_HINTS"})
    if (const std::string value = variable(name); !value.empty()) text += fmt::format(" ({} = {})", name, value);
  return text;
}

GradientSync::Order gradient_order(const RunConfig& run) {
  return strict(run) ? GradientSync::Order::None : GradientSync::Order::OfRanks;
}

DeviceShare device_share(const NodeShare& node, int devices) {
  const int ordinal = node.rank % devices;
  return {ordinal, (node.ranks - ordinal + devices - 1) / devices};
}

MemoryLimit memory_limit(const DeviceConfig& device, const NodeShare& node, const Device* opened) {
  if (device.memory > 0) return {"device.memory", device.memory, device.memory};
  if (opened)
    return {opened->facts().name, opened->facts().bytes,
            opened->facts().free_bytes / 100 * 92 / device_share(node, device_count()).ranks};
  MemoryLimit limit = tightest_memory_limit(node.ranks);
  limit.available = limit.available / 10 * 9;  // not all is ours: libraries, and what others will take
  return limit;
}

SequenceShape sequence_shape(const Config& config) { return {config.data.length, config.segment.length}; }

Workload workload_of(const Config& config, int64_t batch, std::vector<SequenceShape> shapes, bool backward) {
  Workload w;
  w.batch = batch;
  w.shapes = std::move(shapes);
  w.micro_batch = strict(config.run) ? 1 : config.data.micro_batch;
  w.backward = backward;
  if (config.positions.kind != PositionsKind::Plain) w.trained_positions = config.positions.target;
  if (backward) w.teaching = teaching_of(config);
  return w;
}

Workload::Teaching teaching_of(const Config& config) {
  const ObjectiveConfig& o = config.objective;
  if (o.kind != ObjectiveKind::Distil) return {};
  return {o.kl, o.window > 0 ? o.window : 2 * longest_segment(config)};
}

Engine::Engine(const EngineConfig& config, Model& model, Mesh& mesh, const NodeShare& node, const Workload& workload,
               SpaceBytes other_bytes, const std::optional<MemoryLimit>& limit)
    : numerics_(memring::numerics(config, node)),
      queue_(numerics_.queue),
      model_(model),
      workload_(workload),
      gradients_(gradients_of(config.run, workload)) {
  start_threads(queue_.threads());
  if (node.progress) queue_.count_work_in(node.progress->work);
  Arena measure;
  model.params.allocate(measure, numerics_.dtype, gradients_);
  const bool on_device = queue_.device() != nullptr;
  const SpaceBytes own = SpaceBytes::of_tensors(measure.peak(), on_device), fixed = own + other_bytes;
  const int64_t taken = on_device ? fixed.device : fixed.host;  // of what the limit is about

  limit_ = limit ? *limit : memory_limit(config.device, node, queue_.device());
  const Least least = least_of(mesh.world(), limit_, taken);
  smallest_ = {least.rank, least.limit};

  const Tbptt tbptt = tbptt_of(config, model.memory->dependency());
  const PlanInputs inputs{.model = model.llama.shape(),
                          .memory = *model.memory,
                          .trained = model.params.trained_layout(),
                          .dtype = numerics_.dtype,
                          .numerics = queue_.options(),
                          .workload = workload_,
                          .tbptt = tbptt,
                          .recompute = {config.tbptt.recompute, static_cast<int32_t>(config.tbptt.boundaries)},
                          .mesh = mesh.shape()};
  ExecutionPlan plan = plan_execution(inputs, mesh.coord(), least.left);
  queue_.poll();  // schedules were tried
  const auto with_others = [&](MemoryPlan memory) {
    memory.parts.insert(memory.parts.begin(), {{MemoryPurpose::Parameters, 1, own.host, own.device},
                                               {MemoryPurpose::Optimizer, 1, other_bytes.host, other_bytes.device}});
    return memory;
  };
  plan_ = with_others(plan.memory);
  most_plan_ = with_others(plan.most_memory);
  if (plan.most_bytes > least.left) {
    if (mesh.world().rank() != least.rank) mesh.world().barrier();  // until the message has ended the job
    refuse(most_plan_, plan.most_bytes + taken, workload_, config.tbptt, limit_, dependency());
  }
  executor_.emplace(queue_, model, mesh, numerics_.dtype, workload_, tbptt, std::move(plan));
  if (node.progress) executor_->note_in(*node.progress);
}

void Engine::allocate(Arena weights) {
  weights_ = weights.measuring() ? queue_.arena(plan_.bytes_of(MemoryPurpose::Parameters)) : std::move(weights);
  weights_.rewind(0);
  model_.params.allocate(weights_, numerics_.dtype, gradients_);
  if (queue_.device()) {
    workspace_ = queue_.arena(plan_.bytes_of(MemoryPurpose::Products));
    queue_.set_workspace(workspace_.rest());
  }
  executor_->allocate();
}

void Engine::sum_gradients(Transport& group) {
  group.all_reduce_sum(queue_, model_.params.grads());
  if (model_.params.grads().dtype() == DType::Exact)
    ExactSum::round(queue_, model_.params.rounded_grads(), Write::Overwrite, model_.params.grads());
}

void Engine::reduce_during_backward(GradientSync& sync) {
  executor_->reduce_with(sync);
  queue_.add_poll([&sync] { sync.progress(); });
}

}  // namespace memring
