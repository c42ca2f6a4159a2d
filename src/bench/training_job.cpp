// SPDX-License-Identifier: Apache-2.0
#include "bench/training_job.h"

#include "base/random.h"
#include "base/version.h"
#include "kernels/elementwise/elementwise.h"
#include "train/train_state.h"

namespace memring {
namespace {

class RandomTokens : public TokenSource {
 public:
  RandomTokens(const Config& config, int64_t step) : config_(config), step_(static_cast<uint64_t>(step)) {}
  int64_t sequences() const override { return config_.data.batch; }
  SequenceShape shape() const override { return sequence_shape(config_); }
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    const Random random(config_.run.seed, Purpose::Test, step_, static_cast<uint32_t>(sequence));
    const auto at = [&](int64_t position) {
      return static_cast<int32_t>(
          random.below(static_cast<uint32_t>(position), static_cast<uint64_t>(config_.model.vocab)));
    };
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = at(begin + static_cast<int64_t>(i));
      targets[i] = at(begin + static_cast<int64_t>(i) + 1);
    }
  }

 private:
  const Config& config_;
  uint64_t step_;
};

}  // namespace

TrainingJob::TrainingJob(const Config& config, Communicator& group, const NodeShare& node, bool backward)
    : config_(config),
      backward_(backward),
      mesh_(group, resolve_mesh(config.mesh.data, config.mesh.segment, config.mesh.token, group.size())) {
  engine_.emplace(config_, mesh_, node, workload_of(config_, config_.data.batch, {sequence_shape(config_)}, backward),
                  [&](const FlatBuffer& layout, DType dtype) {
                    sync_.emplace(group, layout.size, gradient_order(config_));
                    return backward ? Optimizer::bytes(dtype, sync_->shard().size()) : 0;
                  });
  engine_->allocate();
  engine_->params().initialise(config_.run.seed, engine_->queue());
  if (!backward) return;
  optimizer_.emplace(engine_->queue(), engine_->params(), sync_->shard(), config_.optimizer);
  engine_->reduce_during_backward(*sync_);
}

void TrainingJob::step() {
  Params& params = engine_->params();
  Executor& executor = engine_->executor();
  if (backward_) Elementwise::fill(engine_->queue(), params.sums(), 0);
  const int64_t step = steps_++;
  const StepSums local = executor.run(RandomTokens(config_, step), executor.draw(step, sequence_shape(config_)));
  if (!backward_) return;
  const ReducedStep reduced = sync_->reduce(engine_->queue(), params.sums(), params.gradients(), local);
  optimizer_->step(config_.optimizer.lr, steps_, optimizer_->clipping(reduced.norm) / reduced.sums.targets);
  sync_->gather(params.weights());
}

CheckpointData TrainingJob::state() {
  return {.layout = engine_->params().layout(),
          .shard = sync_->shard(),
          .weights = engine_->params().weights(),
          .m = optimizer_->m(),
          .v = optimizer_->v(),
          .state = numbers_of({}),
          .progress = nullptr};
}

CheckpointInfo TrainingJob::info(Session& session) const {
  return {.config = render_config(config_),
          .identity = config_identity(config_),
          .mesh = describe(mesh_.shape()),
          .isa = name_of(engine_->numerics().queue.isa),
          .dtype = std::string(word_of(engine_->numerics().precision)),
          .version = version(),
          .threads = engine_->numerics().queue.threads,
          .ranks = session.size()};
}

}  // namespace memring
