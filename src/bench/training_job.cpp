// SPDX-License-Identifier: Apache-2.0
#include "bench/training_job.h"

#include "base/random.h"
#include "base/version.h"
#include "train/train_state.h"

namespace memring {

void RandomBatch::read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const {
  const Random random(config_.run.seed, Purpose::Test, step_, static_cast<uint32_t>(sequence));
  const auto token_at = [&](int64_t position) {
    return static_cast<int32_t>(
        random.below(static_cast<uint32_t>(position), static_cast<uint64_t>(config_.model.vocab)));
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = token_at(begin + static_cast<int64_t>(i));
    targets[i] = token_at(begin + static_cast<int64_t>(i) + 1);
  }
}

TrainingJob::TrainingJob(const Config& config, Communicator& group, const NodeShare& node)
    : config_(config), run_(config_, group, node, {sequence_shape(config_)}, TrainingRun::Saves::None) {
  run_.allocate();
}

void TrainingJob::step() {
  run_.step(
      RandomBatch(config_, steps_), steps_, [](StepSums&) {},
      [&](const ReducedStep&) {
        return std::optional(Update{config_.optimizer.lr, steps_ + 1});
      });
  ++steps_;
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

CheckpointInfo TrainingJob::info(Session& session) const {
  const Numerics& numerics = run_.engine().numerics();
  return {.config = render_config(config_),
          .identity = config_identity(config_),
          .mesh = mesh(),
          .isa = name_of(numerics.queue.isa),
          .dtype = std::string(word_of(numerics.precision)),
          .version = version(),
          .threads = numerics.queue.threads,
          .ranks = session.size()};
}

}  // namespace memring
