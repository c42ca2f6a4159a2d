// What a plan says of the host's memory and of a device's, beside what was taken of the twin.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "checkpoint_run.h"
#include "engine_runs.h"
#include "kernels/cuda/twin/device.h"
#include "train/saver.h"
#include "train/training_run.h"

namespace memring {
namespace {

/// Random tokens for as many steps as there are.
class RandomDataset final : public Dataset {
 public:
  explicit RandomDataset(const Config& config) : config_(config) {}
  std::unique_ptr<TokenSource> at(int64_t, const SequenceShape& shape) const override {
    return std::make_unique<RandomTokens>(config_.data.batch, shape, config_.model.vocab);
  }
  std::unique_ptr<TokenSource> in_order(int64_t, int64_t, const SequenceShape& shape) const override {
    return at(0, shape);
  }
  int64_t sequences() const override { return 1; }
  int64_t fewest_segments() const override { return 1; }
  std::string digest() const override { return ""; }
  void expect_unchanged(const std::function<void()>&) const override {}
  std::string description() const override { return ""; }

 private:
  Config config_;
};

/// What a run takes of the twin while it lives.
class Taken {
 public:
  explicit Taken(const Queue& queue)
      : twin_(static_cast<const TwinDevice&>(*queue.device())),
        pinned_(twin_.taken(Space::Pinned)),
        device_(twin_.taken(Space::Device)) {}
  int64_t pinned() const { return twin_.taken(Space::Pinned) - pinned_; }
  int64_t device() const { return twin_.taken(Space::Device) - device_; }

 private:
  const TwinDevice& twin_;
  int64_t pinned_, device_;
};

/// `keys`: of a memory of keys, whose tables some layouts share and others have twice.
void expect_planned(const MemoryPlan& plan, const Taken& taken, bool keys) {
  const SpaceBytes planned = plan.by_space();
  // A rank of a mesh may not meet each layout, and have fewer messages under way than there may be; and what the host
  // keeps of rows and tokens for itself is no device's.
  const int64_t tables = world().size() > 1 || keys ? 2048 : 0, more = keys ? 1024 : 0, rows = 4096,
                staged = plan.bytes_of(MemoryPurpose::Staged);
  EXPECT_LE(taken.device(), planned.device + more) << plan.text();
  EXPECT_GE(taken.device(), planned.device - tables) << plan.text();
  EXPECT_LE(taken.pinned(), planned.host + more) << plan.text();
  EXPECT_GE(taken.pinned(), planned.host - tables - rows - staged) << plan.text();
}

std::vector<Config> small_configs() {
  std::vector<Config> configs;
  for (const MemoryKind kind : {MemoryKind::None, MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Uio, MemoryKind::Halo})
    for (const MeshConfig& mesh : meshes(world().size())) {
      Config config = small_config();
      config.memory.kind = kind;
      if (kind == MemoryKind::None) config.memory.tokens = 0;
      if (kind == MemoryKind::Armt) armt(config);
      if (kind == MemoryKind::Uio) uio(config);
      config.mesh = mesh;
      configs.push_back(config);
    }
  return configs;
}

bool keys(const Config& config) {
  return config.memory.kind == MemoryKind::Uio || config.memory.kind == MemoryKind::Halo;
}

std::string text_of(const Config& config) {
  return fmt::format("{}, mesh {}", word_of(config.memory.kind), text_of(config.mesh));
}

TEST(PlannedSpaces, AreTakenByATrainingRunAndItsSave) {
  for (Config config : small_configs()) {
    SCOPED_TRACE(text_of(config));
    const SharedFolder folder;
    config.run.dir = folder.path();
    const RandomDataset dataset(config);
    TrainingRun run(config, world(), session().node(), {sequence_shape(config)}, TrainingRun::Saves::Planned);
    const Taken taken(run.engine().queue());
    run.allocate();
    Saver saver(config, dataset, session(), run.mesh(), run.engine(), run.optimizer(), run.shard());
    for (int64_t number = 0; number < 2; ++number)
      run.step(
          *dataset.at(number, sequence_shape(config)), number, [](StepSums&) {},
          [&](const ReducedStep&) {
            return std::optional(Update{1e-3, number + 1});
          });
    RunLog log({.speaks = false, .jsonl = "", .every = 1});
    saver.save_and_wait({.step = 2}, log);
    expect_planned(run.engine().plan(), taken, keys(config));
  }
}

TEST(PlannedSpaces, AreTakenByAnEvaluationAndItsSink) {
  struct Sink : ResultSink {
    void losses(int64_t, int64_t, ConstView<>, std::span<const int32_t>) override {}
    void logits(int64_t, int64_t, ConstView<>, std::span<const int32_t>) override {}
  };
  for (const Config& config : small_configs()) {
    SCOPED_TRACE(text_of(config));
    Mesh mesh(world(), {config.mesh.data, config.mesh.segment, config.mesh.token});
    Model model = model_of(config);
    Workload workload = workload_of(config, config.data.batch, {sequence_shape(config)}, false);
    workload.logits = Workload::Logits::All;
    Engine engine(config, model, mesh, NodeShare{}, workload);
    const Taken taken(engine.queue());
    engine.allocate();
    engine.params().initialise(7, engine.queue());
    const RandomTokens tokens(config.data.batch, sequence_shape(config), config.model.vocab);
    Sink sink;
    engine.executor().run(tokens, engine.executor().draw(0, tokens.shape()), &sink);
    engine.executor().sums();
    expect_planned(engine.plan(), taken, keys(config));
  }
}

}  // namespace
}  // namespace memring
