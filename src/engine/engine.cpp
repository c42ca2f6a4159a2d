// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "base/surroundings.h"
#include "kernels/exact_sum/exact_sum.h"

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

Tbptt tbptt_of(const Config& config) {
  return config.tbptt.mode == TbpttMode::Window     ? Tbptt::windows(config.tbptt.window)
         : config.tbptt.mode == TbpttMode::Unbiased ? Tbptt::unbiased(config.tbptt.cut, config.run.seed)
                                                    : Tbptt::full();
}

bool strict(const Config& config) { return config.run.deterministic == Determinism::Strict; }

Params::Gradients gradients_of(const Config& config, const Workload& workload) {
  return !workload.backward ? Params::Gradients::None
         : strict(config)   ? Params::Gradients::Exact
                            : Params::Gradients::Plain;
}

/// What a rank of the world has left, at the least, and the first rank that has no more.
struct Least {
  int64_t bytes;
  int rank;
};
Least least_of(Communicator& world, int64_t left) {
  std::vector<int64_t> all(static_cast<size_t>(world.size()));
  world.all_gather(View<int64_t>(all.data(), {world.size(), 1}), ConstView<int64_t>(&left, {1}));
  const auto least = std::min_element(all.begin(), all.end());
  return {*least, static_cast<int>(least - all.begin())};
}

/// `plan`: of the rank that takes most; `others`: what is taken besides it.
[[noreturn]] void refuse(const ExecutionPlan& plan, const Workload& workload, RecomputeWhen recompute, int64_t others,
                         const MemoryLimit& limit) {
  const auto mib = [](int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
  throw Error(
      ExitCode::Usage,
      fmt::format(
          "this run needs {:.1f} MiB on a rank, and {} allows {:.1f} MiB: parameters and optimizer {:.1f}, {} MiB",
          mib(plan.memory.total() + others), limit.name, mib(limit.available), mib(others), plan.memory.text()),
      workload.micro_batch > 1 ? "Lower data.micro_batch, or set it to 0 (automatic)."
      : recompute == RecomputeWhen::Never
          ? "Set tbptt.recompute = auto."
          : "Use a shorter segment.length, tbptt.boundaries, tbptt.mode = window, a smaller model, or more memory.");
}

/// One a process, opened when it is first asked for: memory that engines leave to each other lies on it.
Device* device_of(const DeviceConfig& config) {
  if (config.kind != DeviceKind::Cuda) return nullptr;
  static const std::unique_ptr<Device> device = open_device(0);
  return device.get();
}

}  // namespace

ModelShape model_shape(const ModelConfig& m) {
  return {.layers = m.layers,
          .dim = m.dim,
          .heads = m.heads,
          .kv_heads = m.kv_heads,
          .head_dim = m.head_dim,
          .ffn = m.ffn,
          .vocab = m.vocab,
          .rope_theta = m.rope_theta,
          .norm_eps = m.norm_eps,
          .init_std = m.init_std,
          .embedding_std = m.embedding_std,
          .tied = m.tied};
}

MemorySettings memory_settings(const Config& config) {
  const MemoryConfig& m = config.memory;
  return {.kind = m.kind,
          .mask = m.mask,
          .tokens = m.tokens,
          .key_dim = m.key_dim,
          .nu = m.nu,
          .init_std = m.init_std,
          .reset_each_segment = m.reset == MemoryReset::Segment,
          .exact_sums = strict(config)};
}

Model model_of(const Config& config) { return {model_shape(config.model), memory_settings(config)}; }

Numerics numerics(const Config& config, const NodeShare& node) {
  const DeviceConfig& device = config.device;
  Numerics n;
  Device* const opened = device_of(device);
  n.precision = device.dtype != Precision::Auto                    ? device.dtype
                : !opened && cpu_has_amx_bf16() && !strict(config) ? Precision::Bf16
                                                                   : Precision::Fp32;
  n.dtype = n.precision == Precision::Fp64 ? DType::F64 : DType::F32;
  n.queue.products = n.precision == Precision::Bf16 ? Products::Bf16 : Products::F32;
  n.queue.isa = isa_of(device.isa);
  n.threads = thread_count(device.threads, node.cores);
  n.queue.threads = n.threads.threads;
  n.queue.block = strict(config) ? config.run.block : 0;
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

GradientSync::Order gradient_order(const Config& config) {
  return strict(config) ? GradientSync::Order::None : GradientSync::Order::OfRanks;
}

MemoryLimit memory_limit(const DeviceConfig& device, const NodeShare& node, const Device* opened) {
  if (device.memory > 0) return {"device.memory", device.memory, device.memory};
  if (opened) return {opened->facts().name, opened->facts().bytes, opened->facts().free_bytes / 100 * 92 / node.ranks};
  MemoryLimit limit = tightest_memory_limit(node.ranks);
  limit.available = limit.available / 10 * 9;  // not all is ours: libraries, and what others will take
  return limit;
}

SequenceShape sequence_shape(const Config& config) { return {config.data.length, config.segment.length}; }

Workload workload_of(const Config& config, int64_t batch, std::vector<SequenceShape> shapes, bool backward) {
  Workload w;
  w.batch = batch;
  w.shapes = std::move(shapes);
  w.micro_batch = strict(config) ? 1 : config.data.micro_batch;
  w.backward = backward;
  return w;
}

Engine::Engine(const Config& config, Model& model, Mesh& mesh, const NodeShare& node, const Workload& workload,
               SpaceBytes other_bytes, const std::optional<MemoryLimit>& limit)
    : numerics_(memring::numerics(config, node)),
      queue_(numerics_.queue),
      model_(model),
      workload_(workload),
      gradients_(gradients_of(config, workload)) {
  start_threads(queue_.threads());
  if (node.progress) queue_.count_work_in(node.progress->work);
  Arena measure;
  model.params.allocate(measure, numerics_.dtype, gradients_);
  const bool on_device = queue_.device() != nullptr;
  const SpaceBytes own = SpaceBytes::of_tensors(measure.peak(), on_device), fixed = own + other_bytes;
  const int64_t taken = on_device ? fixed.device : fixed.host;  // of what the limit is about

  limit_ = limit ? *limit : memory_limit(config.device, node, queue_.device());
  const Least left = least_of(mesh.world(), limit_.available - taken);

  const Tbptt tbptt = tbptt_of(config);
  const PlanInputs inputs{.model = model.llama.shape(),
                          .memory = *model.memory,
                          .dtype = numerics_.dtype,
                          .numerics = queue_.options(),
                          .workload = workload_,
                          .tbptt = tbptt,
                          .recompute = {config.tbptt.recompute, static_cast<int32_t>(config.tbptt.boundaries)},
                          .mesh = mesh.shape()};
  ExecutionPlan plan = plan_execution(inputs, mesh.coord(), left.bytes);
  queue_.poll();  // schedules were tried
  if (plan.most_bytes > left.bytes) {
    if (mesh.world().rank() != left.rank) mesh.world().barrier();  // until the message has ended the job
    refuse(plan_execution(inputs, coord_of(mesh.shape(), plan.most_rank), left.bytes), workload_,
           config.tbptt.recompute, taken, limit_);
  }
  plan_ = plan.memory;
  plan_.parts.insert(plan_.parts.begin(), {{MemoryPurpose::Parameters, 1, own.host, own.device},
                                           {MemoryPurpose::Optimizer, 1, other_bytes.host, other_bytes.device}});
  executor_.emplace(queue_, model, mesh, numerics_.dtype, workload_, tbptt, std::move(plan));
  if (node.progress) executor_->note_in(*node.progress);
}

void Engine::allocate(Arena weights) {
  weights_ = weights.measuring() ? queue_.arena(plan_.bytes_of(MemoryPurpose::Parameters)) : std::move(weights);
  weights_.rewind(0);
  model_.params.allocate(weights_, numerics_.dtype, gradients_);
  executor_->allocate();
}

void Engine::sum_gradients(Transport& group) {
  group.all_reduce_sum(queue_, model_.params.sums());
  if (model_.params.sums().dtype() == DType::Exact)
    ExactSum::round(queue_, model_.params.gradients(), Write::Overwrite, model_.params.sums());
}

void Engine::reduce_during_backward(GradientSync& sync) {
  executor_->reduce_with(sync);
  queue_.add_poll([&sync] { sync.progress(); });
}

}  // namespace memring
