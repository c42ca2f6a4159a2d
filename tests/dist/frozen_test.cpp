// A part of the model is trained and the rest is frozen: the part's gradients keep their bits, and the rest takes
// nothing.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "engine_runs.h"
#include "ranks.h"

namespace memring {
namespace {

struct Case {
  const char* name;
  MemoryKind kind;
  const char* train;
};
// Layers without anything to reduce, tensors within a layer, the head, the embedding, the memory.
constexpr Case kCases[] = {{"RmtMemory", MemoryKind::Rmt, "memory"},
                           {"RmtAllButMemory", MemoryKind::Rmt, "model.*,lm_head.*"},
                           {"RmtLastLayer", MemoryKind::Rmt, "model.layers.1.*"},
                           {"RmtSomeOfEachLayer", MemoryKind::Rmt, "*.v_proj.*, *norm*, *.down_proj.weight"},
                           {"ArmtMemory", MemoryKind::Armt, "memory"},
                           {"ArmtAllButMemory", MemoryKind::Armt, "model.*,lm_head.*"},
                           {"UioMemory", MemoryKind::Uio, "memory"},
                           {"UioEncoderAndLastLayer", MemoryKind::Uio, "memory.encoder.*,model.layers.1.*"},
                           {"UioAllButMemory", MemoryKind::Uio, "model.*,lm_head.*"},
                           {"HaloSomeOfEachLayer", MemoryKind::Halo, "*.v_proj.*, *norm*, *.down_proj.weight"}};

class Frozen : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Parts, Frozen, testing::ValuesIn(kCases), [](const auto& c) { return c.param.name; });

Config config_of(const Case& c) {
  Config config = small_config();
  if (c.kind == MemoryKind::Armt) armt(config);
  if (c.kind == MemoryKind::Uio) uio(config);
  config.memory.kind = c.kind;
  return config;
}

TEST_P(Frozen, WhatIsTrainedKeepsItsBitsOnEveryMesh) {
  for (const MeshConfig& mesh : meshes(world().size())) {
    Config config = config_of(GetParam());
    config.mesh = mesh;
    const Result all = run(config, world());
    const FlatBuffer whole = model_of(config).params.layout();
    config.model.train = GetParam().train;
    const Result part = run(config, world());
    EXPECT_EQ(part.nll, all.nll) << text_of(mesh);
    const FlatBuffer trained = model_of(config).params.trained_layout();
    ASSERT_LT(trained.size, whole.size);
    ASSERT_EQ(std::ssize(part.gradients), trained.size);
    for (const FlatEntry& entry : trained.entries) {
      const auto there = std::find_if(whole.entries.begin(), whole.entries.end(),
                                      [&](const FlatEntry& other) { return other.name == entry.name; });
      for (int64_t i = 0; i < entry.shape.elements(); ++i)
        ASSERT_EQ(part.gradients[static_cast<size_t>(entry.offset + i)],
                  all.gradients[static_cast<size_t>(there->offset + i)])
            << entry.name << ' ' << i << " on " << text_of(mesh);
    }
  }
}

TEST_P(Frozen, TakesNoGradientsAndStartsTheSame) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Mesh mesh(alone, {1, 1, 1});
  const auto planned = [&](const Config& config, Model& model) {
    Engine engine(config, model, mesh, NodeShare{},
                  workload_of(config, config.data.batch, {sequence_shape(config)}, true));
    engine.allocate();
    engine.params().initialise(7, engine.queue());
    std::vector<std::vector<double>> values;
    for (size_t tensor = 0; tensor < model.params.layout().entries.size(); ++tensor) {
      const HostCopy copy(engine.queue(), model.params.weight(static_cast<int>(tensor)));
      copy.fetch(engine.queue());
      const double* numbers = copy.view().as<double>();
      values.emplace_back(numbers, numbers + copy.view().size());
      EXPECT_EQ(static_cast<bool>(model.params.grad(static_cast<int>(tensor))),
                model.params.trained(static_cast<int>(tensor)));
    }
    EXPECT_EQ(model.params.grads().size(), model.params.trained_layout().size);
    return std::pair(engine.plan().bytes_of(MemoryPurpose::Parameters), values);
  };
  Config config = config_of(GetParam());
  Model whole = model_of(config);
  config.model.train = GetParam().train;
  Model part = model_of(config);
  const auto [bytes_of_all, all] = planned(config, whole);
  const auto [bytes_of_part, found] = planned(config, part);
  EXPECT_EQ(found, all);
  const int64_t frozen = part.params.layout().size - part.params.trained_layout().size;
  EXPECT_NEAR(static_cast<double>(bytes_of_all - bytes_of_part), static_cast<double>(8 * frozen), 256);
}

}  // namespace
}  // namespace memring
