// Objectives beside language modelling: finite differences of a whole step, N ranks against one, and what each of them
// means.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <numeric>

#include "data/dataset.h"
#include "data/repeated_text.h"
#include "one_rank.h"

namespace memring {
namespace {

/// A dataset of one batch of random tokens, all of whose targets count.
class RandomText final : public Dataset {
 public:
  explicit RandomText(const Config& config) : batch_(config.data.batch), vocab_(config.model.vocab) {}
  std::unique_ptr<TokenSource> at(int64_t, const SequenceShape& shape) const override {
    return std::make_unique<RandomTokens>(batch_, shape, vocab_);
  }
  std::unique_ptr<TokenSource> in_order(int64_t, int64_t, const SequenceShape& shape) const override {
    return at(0, shape);
  }
  int64_t sequences() const override { return batch_; }
  int64_t fewest_segments() const override { return 1; }
  std::string digest() const override { return ""; }
  void expect_unchanged(const std::function<void()>&) const override {}
  std::string description() const override { return ""; }

 private:
  int64_t batch_, vocab_;
};

std::unique_ptr<TokenSource> repeated(const Config& config) {
  return RepeatedText(std::make_unique<RandomText>(config)).at(0, sequence_shape(config));
}

/// By a base that has no updates. (halo has nothing of its own to learn.)
void distil(Config& c) {
  c.objective = {.kind = ObjectiveKind::Distil, .kl = 0.7, .window = 0};
  c.lora = {.rank = 2, .alpha = 3, .targets = "o_proj,down_proj"};
  c.model.train = c.memory.kind == MemoryKind::Halo ? "lora" : "memory,lora";
}

void repeat(Config& c) {
  c.objective.kind = ObjectiveKind::Reconstruct;
  c.data.length = 6 * c.segment.length;
}

Config config_of(MemoryKind kind, void (*objective)(Config&)) {
  Config c = small_config();
  if (kind == MemoryKind::Armt) armt(c);
  if (kind == MemoryKind::Uio) uio(c);
  if (kind == MemoryKind::Halo) c.memory = {.kind = MemoryKind::Halo, .window = 8, .sinks = 1};
  c.memory.kind = kind;
  objective(c);
  return c;
}

class Objectives : public testing::TestWithParam<MemoryKind> {
 protected:
  static void expect_every_mesh_as_one_rank(Config config, const TokenSource* tokens) {
    Communicator alone = world().split(world().rank(), 0, "alone");
    const Result expected = run(config, alone, tokens);
    for (const MeshConfig& mesh : meshes(world().size())) {
      config.mesh = mesh;
      const Result found = run(config, world(), tokens);
      EXPECT_NEAR(found.nll, expected.nll, 1e-9 * expected.nll) << text_of(mesh);
      EXPECT_LE(relative(found.gradients, expected.gradients), 1e-9) << text_of(mesh);
    }
  }
};
INSTANTIATE_TEST_SUITE_P(All, Objectives,
                         testing::Values(MemoryKind::Rmt, MemoryKind::Armt, MemoryKind::Uio, MemoryKind::Halo),
                         [](const auto& memory) { return std::string(word_of(memory.param)); });

// (ARMT's gamma is a constant for the gradient, so its gradients are not those of the loss.)
TEST_P(Objectives, GradientsMatchFiniteDifferences) {
  if (GetParam() == MemoryKind::Armt) return;
  for (const auto objective : {distil, repeat}) {
    const Config config = config_of(GetParam(), objective);
    OneRank job(config, objective == repeat ? repeated(config) : nullptr);
    make_memory_matter(job.params(), job.queue());
    expect_finite_differences(job, "memory.encoder.layers.1.");  // uio's last layer is read as it is entered
  }
}

TEST_P(Objectives, RepetitionIsTheSameOnEveryMesh) {
  const Config config = config_of(GetParam(), repeat);
  expect_every_mesh_as_one_rank(config, repeated(config).get());
}

TEST_P(Objectives, DistillationIsTheSameOnEveryMesh) {
  for (const int64_t window : {0, 7, 13, 1000}) {
    Config config = config_of(GetParam(), distil);
    config.objective.window = window;
    expect_every_mesh_as_one_rank(config, nullptr);
  }
}

/// Logits by sequence and position.
class Logits final : public ResultSink {
 public:
  Logits(int64_t length, int64_t vocab) : length_(length), vocab_(vocab) {}
  void losses(int64_t, int64_t, ConstView<>, std::span<const int32_t>) override {}
  void logits(int64_t sequence, int64_t position, ConstView<> rows, std::span<const int32_t>) override {
    all_.resize(std::max<size_t>(all_.size(), static_cast<size_t>((sequence + 1) * length_ * vocab_)));
    std::copy_n(rows.as<double>(), rows.size(), all_.begin() + (sequence * length_ + position) * vocab_);
  }
  /// log softmax
  std::vector<double> at(int64_t sequence, int64_t position) const {
    const double* const row = all_.data() + (sequence * length_ + position) * vocab_;
    const double sum = std::accumulate(row, row + vocab_, 0.0, [](double s, double x) { return s + std::exp(x); });
    std::vector<double> logs(row, row + vocab_);
    for (double& x : logs) x -= std::log(sum);
    return logs;
  }

 private:
  int64_t length_, vocab_;
  std::vector<double> all_;
};

/// Positions [begin, begin + length) of other sequences, as sequences.
class Piece final : public TokenSource {
 public:
  Piece(const TokenSource& all, Range range) : all_(all), range_(range) {}
  int64_t sequences() const override { return all_.sequences(); }
  SequenceShape shape() const override { return {range_.size(), 0}; }
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    all_.read(sequence, range_.begin + begin, tokens, targets);
  }

 private:
  const TokenSource& all_;
  Range range_;
};

/// What the model says about a batch, with random weights as `OneRank` has them.
Logits logits_of(Config config, const TokenSource& tokens, double* nll = nullptr) {
  Communicator alone = world().split(world().rank(), 0, "alone");
  Mesh mesh(alone, {1, 1, 1});
  config.data.length = tokens.shape().length;
  config.objective = {};
  config.model.train = "all";
  Model model = model_of(config);
  Workload workload = workload_of(config, tokens.sequences(), {tokens.shape()}, false);
  workload.logits = Workload::Logits::All;
  Engine engine(config, model, mesh, NodeShare{}, workload);
  engine.allocate();
  engine.params().initialise(7, engine.queue());
  make_memory_matter(engine.params(), engine.queue());
  Logits logits(tokens.shape().length, config.model.vocab);
  engine.executor().run(tokens, engine.executor().draw(0, tokens.shape()), &logits);
  if (nll) *nll = engine.executor().sums().nll;
  return logits;
}

/// Summed over a batch that is evaluated on a token axis of all ranks.
double evaluated_divergence(const Config& config, const TokenSource& tokens) {
  struct Sum final : ResultSink {
    void losses(int64_t, int64_t, ConstView<>, std::span<const int32_t>) override {}
    void divergences(int64_t, int64_t, ConstView<> divergence) override {
      const auto* const values = divergence.as<double>();
      sum = std::accumulate(values, values + divergence.size(), sum);
    }
    double sum = 0;
  } found;
  Mesh mesh(world(), {1, 1, world().size()});
  Model model = model_of(config);
  Workload workload = workload_of(config, tokens.sequences(), {tokens.shape()}, false);
  workload.teaching = teaching_of(config);
  Engine engine(config, model, mesh, NodeShare{}, workload);
  engine.allocate();
  engine.params().initialise(7, engine.queue());
  make_memory_matter(engine.params(), engine.queue());
  engine.executor().run(tokens, engine.executor().draw(0, tokens.shape()), &found);
  world().all_reduce_sum(View<double>(&found.sum, {1}));
  return found.sum;
}

// What a teacher takes beside large streams is planned: an arena that is too small would end the batch.
TEST(Distillation, ATeacherThatTakesMoreThanTheModelFits) {
  Config config = config_of(MemoryKind::Rmt, distil);
  config.model.dim = 32;
  config.model.heads = 16;
  config.model.kv_heads = 16;
  config.model.head_dim = 2;
  config.model.ffn = 96;
  config.lora = {};
  config.model.train = "memory";
  config.segment.length = 4;
  config.data.length = 64;
  config.data.batch = config.data.micro_batch = 256;
  config.objective.window = 64;
  config.device.dtype = Precision::Fp32;
  OneRank job(config);
  EXPECT_GT(job.nll(), 0);
}

// Frozen updates are a part of the base.
TEST(Distillation, IsByTheUpdatesThatDoNotLearn) {
  Config config = config_of(MemoryKind::Rmt, distil);
  config.objective.kl = 1;
  config.memory.kind = MemoryKind::None;
  config.memory.tokens = 0;
  config.segment.length = 0;
  const auto divergence = [&](const char* train) {
    config.model.train = train;
    OneRank job(config);
    make_memory_matter(job.params(), job.queue());
    return job.nll();
  };
  // The model itself teaches, but for the updates of its last layers.
  EXPECT_GT(divergence("model.layers.*.mlp.down_proj.lora_*"), 1e-3);
  EXPECT_LT(divergence("model.layers.*.mlp.down_proj.lora_*"), divergence("lora"));
}

// The loss of a step against its definition: the model's logits, and those of the decoder by itself, which reads each
// window anew.
TEST_P(Objectives, DistillationIsTheDivergenceFromTheDecoderOnRawText) {
  Config config = config_of(GetParam(), distil);
  config.objective.window = config.segment.length + 3;
  OneRank job(config);
  make_memory_matter(job.params(), job.queue());
  const StepSums found = job.sums();

  const RandomTokens tokens(config.data.batch, sequence_shape(config), config.model.vocab);
  const SequenceShape shape = tokens.shape();
  double nll = 0, divergence = 0;
  const Logits student = logits_of(config, tokens, &nll);
  Config base = config;
  base.memory = {};
  base.lora = {};
  base.segment.length = 0;
  for (int64_t segment = 0, end = 0; segment < shape.segments(); ++segment) {
    const int64_t text = shape.text_of(segment);
    end += text;
    const Range window{std::max<int64_t>(0, end - config.objective.window), end};
    const Logits teacher = logits_of(base, Piece(tokens, window));
    for (int64_t sequence = 0; sequence < tokens.sequences(); ++sequence)
      for (int64_t position = end - text; position < end; ++position) {
        int32_t token = 0, target = 0;
        tokens.read(sequence, position, {&token, 1}, {&target, 1});
        if (target == kIgnoredTarget) continue;
        const auto p = teacher.at(sequence, position - window.begin), q = student.at(sequence, position);
        for (size_t i = 0; i < p.size(); ++i) divergence += std::exp(p[i]) * (p[i] - q[i]);
      }
  }
  EXPECT_GT(divergence, 0.01 * nll);
  EXPECT_NEAR(found.nll, 0.3 * nll + 0.7 * divergence, 1e-10 * found.nll);
  EXPECT_NEAR(found.text_nll, nll, 1e-10 * nll);
  EXPECT_NEAR(evaluated_divergence(config, tokens), divergence, 1e-9 * divergence);
}

TEST_P(Objectives, NothingOfTheTeacherIsTheLossOfTheText) {
  Config config = config_of(GetParam(), distil);
  config.objective.kl = 0;
  OneRank taught(config);
  config.objective = {};
  OneRank text(config);
  EXPECT_NEAR(taught.nll(), text.nll(), 1e-12 * text.nll());
  EXPECT_LE(relative(taught.gradients(), text.gradients()), 1e-12);
}

}  // namespace
}  // namespace memring
