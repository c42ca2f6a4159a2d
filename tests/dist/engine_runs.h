// What tests of the engine on meshes share: a small model, a batch of random tokens, and its loss and gradients on any
// group of ranks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/readback.h"
#include "engine/engine.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/elementwise/elementwise.h"

namespace memring {

/// Random tokens; the last position has no target, and a few others are not counted.
class RandomTokens : public TokenSource {
 public:
  RandomTokens(int64_t batch, SequenceShape shape, int64_t vocab) : batch_(batch), shape_(shape), vocab_(vocab) {}
  int64_t sequences() const override { return batch_; }
  SequenceShape shape() const override { return shape_; }
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      const int64_t p = begin + static_cast<int64_t>(i);
      tokens[i] = token(sequence, p);
      targets[i] = p + 1 == shape_.length || p % 11 == 3 ? kIgnoredTarget : token(sequence, p + 1);
    }
  }

 private:
  int32_t token(int64_t sequence, int64_t position) const {
    const Random random(3, Purpose::Test, 0, static_cast<uint32_t>(sequence));
    return static_cast<int32_t>(random.below(static_cast<uint32_t>(position), static_cast<uint64_t>(vocab_)));
  }
  int64_t batch_;
  SequenceShape shape_;
  int64_t vocab_;
};

struct Result {
  double nll = 0, targets = 0;
  std::vector<double> gradients;  // sums, all trained parameters in one row
};

/// |x - y|; of y = {}: |x|.
inline double distance(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += std::pow(x[i] - (y.empty() ? 0 : y[i]), 2);
  return std::sqrt(sum);
}

inline double relative(const std::vector<double>& found, const std::vector<double>& expected) {
  return distance(found, expected) / distance(expected, {});
}

/// Where small_config() runs: on_cpu.cpp, or on_twin.cpp in a program whose device is the twin.
DeviceKind device_under_test();

/// Four of a segment's tokens to two of memory.
inline void uio(Config& c) {
  c.memory = {.kind = MemoryKind::Uio, .reset = MemoryReset::Sequence, .tokens = 2, .lora_rank = 2, .lora_alpha = 3};
  c.segment.length = 4;
}

inline Config small_config() {
  Config c;
  c.device.kind = device_under_test();
  c.model = {.layers = 2,
             .dim = 16,
             .heads = 4,
             .kv_heads = 2,
             .head_dim = 4,
             .ffn = 24,
             .vocab = 23,
             .rope_theta = 100,
             .norm_eps = 1e-5,
             .tied = false};
  c.memory.kind = MemoryKind::Rmt;
  c.memory.tokens = 3;
  c.segment.length = 5;
  c.data.batch = 3;
  c.data.length = 37;
  c.device.threads = 1;
  c.device.dtype = Precision::Fp64;
  return c;
}

/// Enough features that no denominator is near 0, where fp32 would say nothing.
inline void armt(Config& c) {
  c.memory = {.kind = MemoryKind::Armt,
              .reset = MemoryReset::Sequence,
              .tokens = 3,
              .mask = MemoryMask::Causal,
              .key_dim = 8,
              .nu = 3};
}

/// Low-rank updates are zero at the start, and half of their gradients with them: random ones in their place.
inline void start_updates(Params& params, const Queue& queue) {
  for (size_t i = 0; i < params.layout().entries.size(); ++i) {
    if (!params.layout().entries[i].name.ends_with("lora_B.weight")) continue;
    const HostCopy copy(queue, params.weight(static_cast<int>(i)));
    const Random random(6, Purpose::Test, 0, static_cast<uint32_t>(i));
    by_float_type(copy.view().dtype(), [&]<class T>() {
      for (int64_t k = 0; k < copy.view().size(); ++k)
        copy.view().as<T>()[k] = static_cast<T>(0.25 * random.normal(static_cast<uint32_t>(k)));
    });
    copy.store(queue);
  }
}

/// Matrices of usual initialisation are too small for the memory to matter: enlarges them, and only them (large norm
/// gains make a model so chaotic that fp32 says nothing). ARMT's keys and LoRA's A are large from the start, its values
/// and its B zero.
inline void make_memory_matter(Params& params, const Queue& queue) {
  for (size_t i = 0; i < params.layout().entries.size(); ++i) {
    const std::string& name = params.layout().entries[i].name;
    const bool value = name.ends_with("value.weight") || name.ends_with("lora_B.weight");
    const bool large = name.ends_with("lora_A.weight") || (name.starts_with("memory.") && !value);
    if (!params.decays(static_cast<int>(i)) || large) continue;
    const HostCopy copy(queue, params.weight(static_cast<int>(i)));
    copy.fetch(queue);
    const View<> weight = copy.view();
    const Random random(5, Purpose::Test, 0, static_cast<uint32_t>(i));
    by_float_type(weight.dtype(), [&]<class T>() {
      for (int64_t k = 0; k < weight.size(); ++k)
        weight.as<T>()[k] =
            value ? static_cast<T>(0.25 * random.normal(static_cast<uint32_t>(k))) : T(8) * weight.as<T>()[k];
    });
    copy.store(queue);
  }
  start_updates(params, queue);
}

/// One batch on a mesh of `world`; gradients summed over it.
inline Result run(const Config& config, Communicator& group, const TokenSource* tokens = nullptr) {
  const RandomTokens random(config.data.batch, sequence_shape(config), config.model.vocab);
  Mesh mesh(group, resolve_mesh(config.mesh.data, config.mesh.segment, config.mesh.token, group.size()));
  Model model = model_of(config);
  const TokenSource& batch = tokens ? *tokens : random;
  Workload workload = workload_of(config, config.data.batch, {sequence_shape(config)}, true);
  workload.positions = batch.own_positions() ? 1000 : 0;  // how many is a matter of scaled frequencies alone
  Engine engine(config, model, mesh, NodeShare{}, workload);
  engine.allocate();
  engine.params().initialise(7, engine.queue());
  make_memory_matter(engine.params(), engine.queue());
  engine.executor().run(batch, engine.executor().draw(0, batch.shape()));
  StepSums sums = engine.executor().sums();
  engine.sum_gradients(mesh.world_transport());
  double totals[2] = {sums.nll, sums.targets};
  group.all_reduce_sum(View<double>(totals, {2}));
  Result result{totals[0], totals[1], {}};
  const HostCopy gradients(engine.queue(), engine.params().rounded_grads());
  gradients.fetch(engine.queue());
  by_float_type(engine.params().dtype(), [&]<class T>() {
    const T* g = gradients.view().as<T>();
    result.gradients.assign(g, g + engine.params().trained_layout().size);
  });
  return result;
}

/// One engine, many steps with weights of the caller's choice: each gives the gradients, summed over the world.
class RepeatedGradient {
 public:
  RepeatedGradient(const Config& config, Communicator& group)
      : group_(group),
        mesh_(group, resolve_mesh(config.mesh.data, config.mesh.segment, config.mesh.token, group.size())),
        model_(model_of(config)),
        engine_(config, model_, mesh_, NodeShare{},
                workload_of(config, config.data.batch, {sequence_shape(config)}, true)),
        tokens_(config.data.batch, sequence_shape(config), config.model.vocab) {
    engine_.allocate();
    engine_.params().initialise(7, engine_.queue());
    Elementwise::scale(engine_.queue(), engine_.params().weights(), 4);  // memory that matters
    start_updates(engine_.params(), engine_.queue());
  }
  std::vector<double> operator()(const BoundaryWeights& weights) {
    Elementwise::fill(engine_.queue(), engine_.params().rounded_grads(), 0);
    engine_.executor().run(tokens_, weights);
    const HostCopy copy(engine_.queue(), engine_.params().rounded_grads());
    copy.fetch(engine_.queue());
    const View<> gradients = copy.view();
    group_.all_reduce_sum(gradients);
    return {gradients.as<double>(), gradients.as<double>() + gradients.size()};
  }
  Executor& executor() { return engine_.executor(); }
  const FlatBuffer& layout() { return engine_.params().layout(); }

 private:
  Communicator& group_;
  Mesh mesh_;
  Model model_;
  Engine engine_;
  RandomTokens tokens_;
};

/// Every factorisation of the world.
inline std::vector<MeshConfig> meshes(int ranks) {
  std::vector<MeshConfig> all;
  for (int segment = 1; segment <= ranks; ++segment)
    for (int token = 1; token <= ranks; ++token)
      if (ranks % (segment * token) == 0) all.push_back({ranks / (segment * token), segment, token});
  return all;
}

inline std::string text_of(const MeshConfig& mesh) { return describe(MeshShape{mesh.data, mesh.segment, mesh.token}); }

}  // namespace memring
