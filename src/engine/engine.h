// Engine: everything that a command needs to run batches of a model on this rank: numerics, queue, limit, plan and
// executor, built in the order in which they depend on each other.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/memory_limits.h"
#include "base/threads.h"
#include "config/config.h"
#include "dist/session.h"
#include "engine/executor.h"

namespace memring {

/// The plain structs behind the configuration's words.
ModelShape model_shape(const Config&);
MemorySettings memory_settings(const Config&);
Model model_of(const Config&);

/// Those sections of a configuration that an engine computes by; its model is given.
struct EngineConfig {
  EngineConfig(const Config& config) : run(config.run), device(config.device), tbptt(config.tbptt) {}
  RunConfig run;
  DeviceConfig device;
  TbpttConfig tbptt;
};

/// How this rank computes: data type, products, threads, instruction set.
struct Numerics {
  DType dtype = DType::F32;
  Queue::Options queue;
  Precision precision = Precision::Fp32;  ///< not Auto
  ThreadCount threads;
};
Numerics numerics(const EngineConfig&, const NodeShare&);

/// The instruction sets that the bits depend on: that of our own loops, and what the environment holds oneDNN to.
std::string instruction_sets(const Queue&);

/// How the gradients of ranks are to be summed.
GradientSync::Order gradient_order(const RunConfig&);

/// The device of a rank, where its host has so many, at least one: they are dealt to the ranks of the host in turn.
struct DeviceShare {
  int ordinal = 0;
  int ranks = 1;  ///< that have the same one
};
DeviceShare device_share(const NodeShare&, int devices);

/// What a rank may plan for: device.memory, or its share of what the machine has free now, or its share of 92 % of what
/// its device has.
MemoryLimit memory_limit(const DeviceConfig&, const NodeShare&, const Device* opened);

class Engine {
 public:
  /// Plans, and refuses what does not fit; takes no memory yet. The model and the mesh must outlive it. `other_bytes`
  /// are taken on this rank by others (optimizer, checkpoint buffer). `limit`: what to plan for, where memory_limit()
  /// is not to be asked now. Collective.
  Engine(const EngineConfig&, Model&, Mesh&, const NodeShare&, const Workload&, SpaceBytes other_bytes = {},
         const std::optional<MemoryLimit>& limit = {});
  Engine(const Engine&) = delete;  // its executor holds references into it
  Engine& operator=(const Engine&) = delete;
  /// Takes what was planned. Before it there is nothing in params(), and nothing runs. Once. `weights`: those that an
  /// engine of the same model and workload has left.
  void allocate(Arena weights = {});
  /// The parameters' memory, for an engine that goes on with them. Nothing runs here afterwards.
  Arena take_weights() { return std::move(weights_); }

  Queue& queue() { return queue_; }
  Params& params() { return model_.params; }
  Executor& executor() { return *executor_; }
  const Numerics& numerics() const { return numerics_; }
  const Workload& workload() const { return workload_; }
  Dependency dependency() const { return model_.memory->dependency(); }
  /// The gradients of all ranks of `group`, summed, on each of them.
  void sum_gradients(Transport& group);
  /// Gradients start on their way to the other ranks where the schedule says so. `sync` must stay.
  void reduce_during_backward(GradientSync& sync);
  /// Parameters, what others take, and the executor's parts.
  const MemoryPlan& plan() const { return plan_; }
  /// The same of the rank of the world that takes most: alike on every rank.
  const MemoryPlan& most_plan() const { return most_plan_; }
  const MemoryLimit& limit() const { return limit_; }  ///< of this rank
  /// The limit that counted, the world's least, and whose it is: alike on every rank.
  struct SmallestLimit {
    int rank = 0;
    MemoryLimit limit;
  };
  const SmallestLimit& smallest_limit() const { return smallest_; }

 private:
  const Numerics numerics_;
  Queue queue_;
  Model& model_;
  const Workload workload_;
  const Params::Gradients gradients_;
  MemoryPlan most_plan_;
  MemoryLimit limit_;
  SmallestLimit smallest_;
  MemoryPlan plan_;
  std::optional<Executor> executor_;
  Arena weights_, workspace_;
};

/// Who teaches, where objective.kind = distil.
Workload::Teaching teaching_of(const Config&);
/// The workload that a configuration describes, for batches of `batch` sequences of these shapes. Without `backward`
/// nobody teaches.
Workload workload_of(const Config&, int64_t batch, std::vector<SequenceShape> shapes, bool backward);
/// The shape that data.length and segment.length describe.
SequenceShape sequence_shape(const Config&);

}  // namespace memring
