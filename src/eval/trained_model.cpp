// SPDX-License-Identifier: Apache-2.0
#include "eval/trained_model.h"

#include <algorithm>
#include <chrono>

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

int64_t load_weights(const std::string& checkpoint, Engine& engine, Session& session) {
  engine.allocate();
  Params& params = engine.params();
  CheckpointData data{.layout = params.layout(),
                      .shard = {},
                      .weights = params.weights(),
                      .m = {},
                      .v = {},
                      .state = {},
                      .progress = &session.progress()};
  return load_checkpoint(session.world(), checkpoint, data).step;
}

}  // namespace

std::string find_checkpoint(const Config& config, const std::string& name) {
  const std::string directory = checkpoint_directory(config.run.dir);
  if (!name.empty()) return name.find('/') != std::string::npos ? name : directory + "/" + name;
  for (const auto& summary : list_checkpoints(directory))
    if (verify_checkpoint(summary.path).empty()) return summary.path;
  throw Error(ExitCode::Data, fmt::format("{} holds no good checkpoint", directory),
              "Train first (memring train), or name the run directory that holds the trained model.");
}

TrainedModel::TrainedModel(const Config& config, const std::string& checkpoint, const Workload& workload,
                           Session& session)
    : mesh_(session.world(), resolve_mesh(config.mesh.data, config.mesh.segment, config.mesh.token, session.size())),
      engine_(config, mesh_, session.node(), workload, [](const FlatBuffer&, DType) { return int64_t{0}; }),
      step_(load_weights(checkpoint, engine_, session)) {}

double TrainedModel::run(const Dataset& dataset, int64_t count, const SequenceShape& shape, ResultSink& sink) {
  const auto start = std::chrono::steady_clock::now();
  Executor& executor = engine_.executor();
  const BoundaryWeights weights = executor.draw(0, shape);
  const int64_t batch = engine_.workload().batch;
  for (int64_t first = 0; first < count; first += batch)
    executor.run(PaddedTokens(dataset.in_order(first, std::min(batch, count - first), shape), batch), weights, &sink);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace memring
