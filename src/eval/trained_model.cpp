// SPDX-License-Identifier: Apache-2.0
#include "eval/trained_model.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "config/shapes.h"
#include "model/tensor_names.h"
#include "train/curriculum.h"
#include "train/frozen_weights.h"
#include "train/run_directory.h"

namespace memring {
namespace {

/// A batch of the usual size whose sequences from `count` on are empty: the end of the data.
class PaddedTokens final : public TokenSource {
 public:
  PaddedTokens(std::unique_ptr<TokenSource> inner, int64_t batch) : inner_(std::move(inner)), batch_(batch) {}
  int64_t sequences() const override { return batch_; }
  SequenceShape shape() const override { return inner_->shape(); }
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    if (sequence < inner_->sequences()) return inner_->read(sequence, begin, tokens, targets);
    std::fill(tokens.begin(), tokens.end(), 0);
    std::fill(targets.begin(), targets.end(), kIgnoredTarget);
  }

 private:
  std::unique_ptr<TokenSource> inner_;
  int64_t batch_;
};

}  // namespace

TrainedModel::TrainedModel(const Config& config, const CheckpointChoice& choice, const Workload& workload,
                           Session& session)
    : engine_config_(config),
      trained_(config.model),
      shape_(model_shape(config)),
      memory_(memory_settings(config)),
      has_control_(config.eval.control && config.memory.kind != MemoryKind::None &&
                   config.memory.reset == MemoryReset::Sequence),
      session_(session),
      workload_(workload),
      mesh_(session.world(), resolve_mesh(config.mesh.data, config.mesh.segment, config.mesh.token, session.size())) {
  start({});
  checkpoint_ = load(choice, config.run.dir);
  other_ = other_settings(parse_config(checkpoint_.info.config, checkpoint_.path), config);
}

/// The engine of the model whose memory is reset, or not, and that has these weights where there are any.
void TrainedModel::start(Arena weights) {
  MemorySettings memory = memory_;
  if (reset_) memory.reset_each_segment = true;
  engine_.reset();  // before the next one takes its memory
  model_.emplace(shape_, memory);
  train_named(model_->params, trained_.train);
  if (workload_.teaching.window > 0) expect_frozen_decoder(model_->params, trained_.train);
  const Numerics computed = numerics(engine_config_, session_.node());
  const int64_t loaded = computed.queue.backend == Backend::Cuda ? model_->params.layout().size : 0;
  engine_.emplace(engine_config_, *model_, mesh_, session_.node(), workload_,
                  SpaceBytes{loaded * bytes_of(computed.dtype), 0}, limit_);
  limit_ = engine_->limit();  // asked once: for a later engine, the weights are among what is taken
  engine_->allocate(std::move(weights));
}

CheckpointSummary TrainedModel::load(const CheckpointChoice& choice, const std::string& run) {
  Params& params = engine_->params();
  const HostCopy all(engine_->queue(), params.weights());
  CheckpointData data{.layout = params.trained_layout(),
                      .shard = {},
                      .weights = all.view().rows(0, params.trained_layout().size),
                      .m = {},
                      .v = {},
                      .state = {},
                      .progress = &session_.progress(),
                      .spare = kRepeatVector};
  session_.progress().enter(Phase::Load);
  auto found = choice.path.empty() ? load_newest(session_.world(), choice.folder, data, warnings_)
                                   : load_checkpoint(session_.world(), choice.path, data);
  if (found) {
    load_frozen(session_.world(), *found, trained_, params, all.view(), data.progress);
    all.store(engine_->queue());
    return std::move(*found);
  }
  require_no_progress(run);
  throw Error(ExitCode::Data, fmt::format("{} holds no good checkpoint", choice.folder),
              "Train first (memring train), or name the run directory that holds the trained model.");
}

std::string TrainedModel::unfinished() const {
  constexpr int64_t kAnyLength = 1;  // of the shorter sequences, which are not drawn here
  const Config config = parse_config(checkpoint_.info.config, "the checkpoint's configuration");
  return Curriculum(stages_of(config), config.curriculum, config.run.seed, kAnyLength)
      .unfinished(train_state(checkpoint_.state));
}

void TrainedModel::reset_memory(bool each_segment) {
  if (each_segment == reset_) return;
  reset_ = each_segment;
  start(engine_->take_weights());
}

double TrainedModel::run(const Dataset& dataset, Range sequences, const SequenceShape& shape, ResultSink& sink) {
  const auto start = std::chrono::steady_clock::now();
  Executor& executor = engine_->executor();
  const BoundaryWeights weights = executor.draw(0, shape);
  const int64_t batch = workload_.batch;
  for (int64_t first = sequences.begin; first < sequences.end; first += batch)
    executor.run(PaddedTokens(dataset.in_order(first, std::min(batch, sequences.end - first), shape), batch), weights,
                 &sink);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool TrainedModel::trained_on(const Dataset& dataset) const {
  const std::string digest = dataset.digest();
  return !digest.empty() && checkpoint_.info.identity.find(data_line(digest)) != std::string::npos;
}

}  // namespace memring
