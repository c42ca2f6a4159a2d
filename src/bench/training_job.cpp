// SPDX-License-Identifier: Apache-2.0
#include "bench/training_job.h"

#include "base/random.h"
#include "base/version.h"
#include "train/train_state.h"

namespace memring {

RandomBatch::RandomBatch(const Config& config)
    : sequences_(config.data.batch),
      shape_(sequence_shape(config)),
      seed_(config.run.seed),
      vocab_(config.model.vocab) {}

void RandomBatch::read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const {
  const Random random(seed_, Purpose::Test, static_cast<uint64_t>(step_), static_cast<uint32_t>(sequence));
  const auto token_at = [&](int64_t position) {
    return static_cast<int32_t>(random.below(static_cast<uint32_t>(position), static_cast<uint64_t>(vocab_)));
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = token_at(begin + static_cast<int64_t>(i));
    targets[i] = token_at(begin + static_cast<int64_t>(i) + 1);
  }
}

TrainingJob::TrainingJob(const Config& config, Communicator& group, const NodeShare& node)
    : batch_(config), lr_(config.optimizer.lr), run_(config, group, node, {batch_.shape()}, TrainingRun::Saves::None) {
  run_.allocate();
}

void TrainingJob::step() {
  run_.step(
      batch_, batch_.step(), [](StepSums&) {},
      [&](const ReducedStep&) {
        return std::optional(Update{lr_, batch_.step() + 1});
      });
  batch_.go_on();
}

CheckpointData TrainingJob::state() {
  const Params& params = engine().params();
  return {.layout = params.trained_layout(),
          .shard = run_.shard(),
          .weights = params.trained_weights(),
          .m = run_.optimizer().m(),
          .v = run_.optimizer().v(),
          .state = numbers_of({}),
          .progress = nullptr};
}

CheckpointInfo TrainingJob::info(const Config& config, Session& session) const {
  const Numerics& numerics = run_.engine().numerics();
  return {.config = render_config(config),
          .identity = config_identity(config),
          .mesh = mesh(),
          .isa = name_of(numerics.queue.isa),
          .dtype = std::string(word_of(numerics.precision)),
          .version = version(),
          .threads = numerics.queue.threads,
          .ranks = session.size()};
}

}  // namespace memring
