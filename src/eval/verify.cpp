// SPDX-License-Identifier: Apache-2.0
#include "eval/verify.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/readback.h"
#include "engine/engine.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/elementwise/elementwise.h"

namespace memring {
namespace {

double norm(std::span<const double> values) {
  double sum = 0;
  for (double value : values) sum += value * value;
  return std::sqrt(sum);
}

/// The batch of a fixture.
class FixtureTokens final : public TokenSource {
 public:
  FixtureTokens(const Fixture& fixture, SequenceShape shape) : fixture_(fixture), shape_(shape) {}
  int64_t sequences() const override { return fixture_.batch[0]; }
  SequenceShape shape() const override { return shape_; }
  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    const int64_t first = sequence * shape_.length + begin;
    std::copy_n(fixture_.tokens.begin() + first, tokens.size(), tokens.begin());
    std::copy_n(fixture_.targets.begin() + first, targets.size(), targets.begin());
  }

 private:
  const Fixture& fixture_;
  SequenceShape shape_;
};

void expect_known_tokens(const Fixture& fixture, int64_t vocab) {
  const auto unknown = [&](int32_t token) { return token < 0 || token >= vocab; };
  const auto token = std::find_if(fixture.tokens.begin(), fixture.tokens.end(), unknown);
  const auto target = std::find_if(fixture.targets.begin(), fixture.targets.end(),
                                   [&](int32_t id) { return id != kIgnoredTarget && unknown(id); });
  const bool tokens = token != fixture.tokens.end();
  if (!tokens && target == fixture.targets.end()) return;
  throw Error(ExitCode::Data,
              fmt::format("fixture {}: {} {} is outside its model's vocabulary (vocab = {})", fixture.path,
                          tokens ? "token" : "target", tokens ? *token : *target, vocab),
              "The fixture's config and batch disagree; make it again.");
}

/// Numbers on the host.
void add_doubles(ConstView<> view, double* to) {
  by_float_type(view.dtype(), [&]<class T>() {
    const T* from = view.as<T>();
    for (int64_t i = 0; i < view.size(); ++i) to[i] += static_cast<double>(from[i]);
  });
}

/// Whole-batch results; each number is written by the rank that computes its cell and is zero elsewhere.
class Collector final : public ResultSink {
 public:
  Collector(const Fixture& fixture, int64_t vocab, int64_t state_size, int64_t model_state)
      : nll(fixture.tokens.size()),
        all_logits(fixture.logits.values.size()),
        state(static_cast<size_t>(fixture.batch[0] * state_size)),
        path_(fixture.path),
        length_(fixture.batch[1]),
        vocab_(vocab),
        state_size_(state_size) {
    if (!all_logits.empty()) expect_size("logits", fixture.logits.shape[2], vocab);
    if (!state.empty()) expect_size("state", state_size, model_state);
  }

  void losses(int64_t sequence, int64_t position, ConstView<> values, std::span<const int32_t>) override {
    add_doubles(values, nll.data() + sequence * length_ + position);
  }
  void logits(int64_t sequence, int64_t position, ConstView<> values, std::span<const int32_t>) override {
    add_doubles(values, all_logits.data() + (sequence * length_ + position) * vocab_);
  }
  void final_state(int64_t sequence, int64_t first, ConstView<> values) override {
    add_doubles(values, state.data() + sequence * state_size_ + first);
  }

  std::vector<double> nll, all_logits, state;

 private:
  void expect_size(const char* dataset, int64_t found, int64_t expected) const {
    if (found == expected) return;
    throw Error(
        ExitCode::Data,
        fmt::format("fixture {}: /expect/{} has {} numbers where its model has {}", path_, dataset, found, expected),
        "The fixture's config and tensors disagree; make it again.");
  }

  std::string path_;
  int64_t length_, vocab_, state_size_;
};

Tolerances filled_in(Tolerances given, Precision precision) {
  // bf16 operands carry 8 bits: a coarse check, the operators' own tests are the sharp one.
  const Tolerances usual = precision == Precision::Fp64   ? Tolerances{1e-9, 1e-9, 1e-9}
                           : precision == Precision::Fp32 ? Tolerances{2e-5, 1e-4, 1e-4}
                                                          : Tolerances{1e-2, 5e-2, 1e-1};
  return {given.loss > 0 ? given.loss : usual.loss, given.values > 0 ? given.values : usual.values,
          given.gradients > 0 ? given.gradients : usual.gradients};
}

void set_parameters(const Fixture& fixture, Params& params, const Queue& queue) {
  for (const auto& parameter : fixture.params) {
    const std::string& name = parameter.first;
    const FixtureTensor& tensor = parameter.second;
    const auto& entries = params.layout().entries;
    if (std::none_of(entries.begin(), entries.end(),
                     [&](const FlatEntry& e) { return e.name == name && e.shape == tensor.shape; }))
      throw Error(ExitCode::Data,
                  fmt::format("{}: parameter {} {} does not belong to the model of its config", fixture.path, name,
                              tensor.shape.text()),
                  "The fixture's config and tensors disagree; make it again.");
  }
  for (size_t i = 0; i < params.layout().entries.size(); ++i) {
    const auto found = fixture.params.find(params.layout().entries[i].name);
    if (found == fixture.params.end())
      throw Error(ExitCode::Data,
                  fmt::format("{}: parameter {} is missing", fixture.path, params.layout().entries[i].name),
                  "The fixture's config and tensors disagree; make it again.");
    const View<> weight = params.weight(static_cast<int>(i));
    by_float_type(weight.dtype(), [&]<class T>() {
      std::vector<T> values(found->second.values.begin(), found->second.values.end());
      copy_now(queue, weight, View<T>(values.data(), weight.shape()));
    });
  }
}

/// The state after the last segment as the executor delivers it: for each sequence one row, all layers behind each
/// other. Empty where the fixture has none.
std::vector<double> expected_state(const Fixture& fixture, int64_t layers) {
  std::vector<std::string> names{"memory"};
  for (int64_t l = 0; l < layers; ++l)
    for (const char* part : {"A", "z", "memory"}) names.push_back(fmt::format("layers.{}.{}", l, part));
  std::vector<double> state;
  for (int64_t b = 0; b < fixture.batch[0]; ++b)
    for (const std::string& name : names) {
      const auto found = fixture.state.find(name);
      if (found == fixture.state.end()) continue;
      const std::vector<double>& values = found->second.values;
      const auto size = std::ssize(values) / fixture.batch[0];
      state.insert(state.end(), values.begin() + b * size, values.begin() + (b + 1) * size);
    }
  return state;
}

/// As the file's draws have it.
BoundaryWeights weights_of(const Fixture& fixture, const SequenceShape& sequence) {
  const ReservoirDraw& draw = *fixture.draw;
  if (draw.segments != sequence.segments())
    throw Error(ExitCode::Data,
                fmt::format("fixture {}: /draw/alive is of {} segments where its sequences have {}", fixture.path,
                            draw.segments, sequence.segments()),
                "The fixture's config and draws disagree; make it again.");
  BoundaryWeights weights{draw.segments, std::vector<double>(static_cast<size_t>(draw.segments), 1.0)};
  weights.reservoir = draw.places;
  for (int32_t memory = 0; memory < draw.segments; ++memory) {
    weights.last.push_back(memory);
    for (auto segment = memory + 1; segment < draw.segments; ++segment)
      if (draw.alive[static_cast<size_t>(segment * draw.segments + memory)] != 0) weights.last.back() = segment;
  }
  return weights;
}

/// The gradient of the mean loss, all parameters behind each other.
std::vector<double> gradients_of(Engine& engine, double counted) {
  const HostCopy all(engine.queue(), engine.params().rounded_grads());
  all.fetch(engine.queue());
  std::vector<double> gradients(static_cast<size_t>(all.view().size()));
  add_doubles(all.view(), gradients.data());
  for (double& value : gradients) value /= counted;
  return gradients;
}

View<> view_of(std::vector<double>& values) {
  return View<double>(values.data(), {static_cast<int64_t>(values.size())});
}

}  // namespace

double relative_error(std::span<const double> found, std::span<const double> expected) {
  double difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) difference += (found[i] - expected[i]) * (found[i] - expected[i]);
  const double size = norm(expected);
  return size > 0 ? std::sqrt(difference) / size : std::sqrt(difference);
}

bool Verification::passed() const {
  return std::all_of(comparisons.begin(), comparisons.end(), [](const Comparison& c) { return c.passed(); });
}

Verification verify_fixture(const Fixture& fixture, const Config& config, Tolerances given, Session& session) {
  expect_known_tokens(fixture, config.model.vocab);
  Communicator& world = session.world();
  Mesh mesh(world, resolve_mesh(config.mesh.data, config.mesh.segment, config.mesh.token, session.size()));
  const SequenceShape sequence{fixture.batch[1], config.segment.length};
  Workload workload = workload_of(config, fixture.batch[0], {sequence}, true);
  workload.final_state = !fixture.state.empty();
  if (!fixture.logits.values.empty()) workload.logits = Workload::Logits::All;
  Model model = model_of(config);
  Engine engine(config, model, mesh, session.node(), workload);
  engine.allocate();
  set_parameters(fixture, engine.params(), engine.queue());

  const std::vector<double> state = expected_state(fixture, config.model.layers);
  const int64_t state_size = std::ssize(state) / fixture.batch[0];
  Executor& executor = engine.executor();
  Collector found(fixture, config.model.vocab, state_size, executor.final_state_numbers(sequence));
  const FixtureTokens tokens(fixture, sequence);
  BoundaryWeights weights = fixture.draw ? weights_of(fixture, sequence) : executor.draw(0, sequence);
  executor.run(tokens, weights, &found);

  engine.sum_gradients(mesh.world_transport());
  for (auto* values : {&found.nll, &found.all_logits, &found.state})
    if (!values->empty()) world.all_reduce_sum(view_of(*values));

  const auto counted = static_cast<double>(fixture.targets.size()) -
                       static_cast<double>(std::count(fixture.targets.begin(), fixture.targets.end(), kIgnoredTarget));
  double loss = 0;
  for (double value : found.nll) loss += value;
  loss /= counted;

  Verification result;
  const Tolerances limit = filled_in(given, engine.numerics().precision);
  const auto compare = [&](const char* quantity, std::span<const double> values, std::span<const double> expected,
                           double tolerance) {
    result.comparisons.push_back({quantity, relative_error(values, expected), tolerance});
  };
  compare("loss", std::span(&loss, 1), std::span(&fixture.loss, 1), limit.loss);
  compare("nll", found.nll, fixture.nll.values, limit.values);
  if (!fixture.logits.values.empty()) compare("logits", found.all_logits, fixture.logits.values, limit.values);
  if (state_size > 0) compare("state", found.state, state, limit.values);

  const auto compare_gradients = [&](const char* quantity, const std::map<std::string, FixtureTensor>& grads) {
    const std::vector<double> gradients = gradients_of(engine, counted);
    std::vector<double> expected;
    for (const FlatEntry& entry : engine.params().layout().entries) {
      const auto& values = grads.at(entry.name).values;
      expected.insert(expected.end(), values.begin(), values.end());
      const double error =
          relative_error(std::span(gradients).subspan(static_cast<size_t>(entry.offset), values.size()), values);
      if (error <= result.worst_error) continue;
      result.worst_error = error;
      result.worst_gradient = entry.name;
    }
    compare(quantity, gradients, expected, limit.gradients);
  };
  compare_gradients("gradients", fixture.grads);
  if (fixture.draw) {  // the released trainer's
    weights.reservoir = 0;
    Elementwise::fill(engine.queue(), engine.params().grads(), 0);
    executor.run(tokens, weights);
    engine.sum_gradients(mesh.world_transport());
    compare_gradients("unweighted", fixture.draw->grads_unweighted);
  }
  result.setting = fmt::format("{}, mesh {}, {}", word_of(engine.numerics().precision), describe(mesh.shape()),
                               executor.plan().policy.recompute ? "recompute" : "activations kept");
  return result;
}

}  // namespace memring
