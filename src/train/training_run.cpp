// SPDX-License-Identifier: Apache-2.0
#include "train/training_run.h"

#include "checkpoint/checkpoint.h"
#include "dist/mesh_arithmetic.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/norm/norm.h"

namespace memring {

namespace {

/// What optimizer, checkpoint and exchange of gradients take on the rank that has this shard.
SpaceBytes bytes_beside_engine(const FlatBuffer& layout, const Numerics& numerics, Range shard, int ranks,
                               TrainingRun::Saves saves) {
  const CheckpointData saved{.layout = layout,
                             .shard = shard,
                             .weights = View<>(nullptr, numerics.dtype, {layout.size}),
                             .m = {},
                             .v = {},
                             .state = {}};
  const bool device = numerics.queue.backend == Backend::Cuda;
  SpaceBytes bytes = SpaceBytes::of_tensors(Optimizer::bytes(numerics.dtype, shard.size()), device);
  if (device) bytes = bytes + GradientSync::bytes_beside_device(layout.size, numerics.dtype, ranks);
  if (saves == TrainingRun::Saves::None) return bytes;
  if (device) bytes = bytes + SquaredNormReader::bytes_beside_device();  // whether what is saved is finite
  bytes.host += CheckpointWriter::buffer_bytes(saved);
  return bytes;
}

Workload training_workload(const Config& config, std::vector<SequenceShape> shapes) {
  Workload workload = workload_of(config, config.data.batch, std::move(shapes), true);
  if (config.positions.kind != PositionsKind::Plain) workload.positions = config.positions.target;
  return workload;
}

}  // namespace

TrainingRun::TrainingRun(const Config& config, Communicator& ranks, const NodeShare& node,
                         std::vector<SequenceShape> shapes, Saves saves)
    : run_(config.run),
      update_(config.optimizer),
      progress_(node.progress),
      mesh_(ranks, resolve_mesh(config.mesh.data, config.mesh.segment, config.mesh.token, ranks.size())),
      model_(model_of(config)),
      sync_(mesh_, model_.params.trained_layout().size, gradient_order(config.run)),
      engine_(
          config, model_, mesh_, node, training_workload(config, std::move(shapes)),
          bytes_beside_engine(model_.params.trained_layout(), numerics(config, node), shard(), ranks.size(), saves)) {}

void TrainingRun::allocate() {
  engine_.allocate();
  engine_.reduce_during_backward(sync_);
  engine_.params().initialise(run_.seed, engine_.queue());
  optimizer_.emplace(engine_.queue(), engine_.params(), shard(), update_);
}

void TrainingRun::enter(Phase phase) {
  if (progress_) progress_->enter(phase);
}

ReducedStep TrainingRun::step(const TokenSource& batch, int64_t number, const std::function<void(StepSums&)>& ask,
                              const std::function<std::optional<Update>(const ReducedStep&)>& decide) {
  Executor& executor = engine_.executor();
  Params& params = engine_.params();
  const BoundaryWeights weights = executor.draw(number, batch.shape());
  Elementwise::fill(engine_.queue(), params.grads(), 0);
  executor.run(batch, weights);
  enter(Phase::SumGradients);
  ReducedStep reduced = sync_.reduce(engine_.queue(), params.grads(), params.rounded_grads(), [&] {
    StepSums local = executor.sums();
    ask(local);
    return local;
  });
  const std::optional<Update> update = decide(reduced);
  enter(Phase::Update);
  if (!update) return reduced;
  optimizer_->step(update->lr, update->number, optimizer_->clipping(reduced.norm) / reduced.sums.targets);
  sync_.gather(engine_.queue(), params.trained_weights());
  return reduced;
}

}  // namespace memring
