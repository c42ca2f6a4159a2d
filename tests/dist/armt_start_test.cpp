// ARMT at its start: features are of degree two, so the initialisation decides whether its memory lives at all.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/engine.h"
#include "kernels/associative/associative.h"
#include "kernels/dpfp/dpfp.h"
#include "kernels/linear/linear.h"
#include "ranks.h"

namespace memring {
namespace {

/// Random text of one segment.
class OneSegment final : public TokenSource {
 public:
  OneSegment(SequenceShape shape, int64_t vocab) : shape_(shape), vocab_(vocab) {}
  int64_t sequences() const override { return 1; }
  SequenceShape shape() const override { return shape_; }
  void read(int64_t, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<int32_t>((begin + static_cast<int64_t>(i) * 7 + 3) % vocab_);
      targets[i] = tokens[i];
    }
  }

 private:
  SequenceShape shape_;
  int64_t vocab_;
};

class FinalState final : public ResultSink {
 public:
  void losses(int64_t, int64_t, ConstView<>, std::span<const int32_t>) override {}
  void final_state(int64_t, int64_t first, ConstView<> state) override {
    numbers.resize(static_cast<size_t>(first + state.size()));
    std::copy_n(state.as<float>(), state.size(), numbers.begin() + first);
  }
  std::vector<float> numbers;
};

struct Start {
  std::vector<std::vector<float>> z;     // of each layer, after the first segment
  std::vector<float> text_denominators;  // of layer 0, for each token's embedding
};

Start start_of(int dim, int tokens) {
  Config config = parse_config(
      "", "start",
      {"--memory.kind=armt", "--model.vocab=64", "--model.heads=4", "--segment.length=64", "--data.length=64",
       "--data.batch=1", "--device.threads=1", "--device.dtype=fp32", "--model.layers=3",
       "--model.dim=" + std::to_string(dim), "--memory.tokens=" + std::to_string(tokens)});
  Mesh mesh(world(), {1, 1, 1});
  Workload workload = workload_of(config, 1, {sequence_shape(config)}, false);
  workload.final_state = true;
  Model model = model_of(config);
  Engine engine(config, model, mesh, NodeShare{}, workload);
  engine.allocate();
  engine.params().initialise(11, engine.queue());
  FinalState found;
  const OneSegment text(sequence_shape(config), config.model.vocab);
  engine.executor().run(text, engine.executor().draw(0, text.shape()), &found);

  Start start;
  const int64_t keys = 2 * config.memory.nu * config.memory.key_dim, state = keys * (dim + 1);
  for (int64_t l = 0; l < config.model.layers; ++l) {
    const auto end = found.numbers.begin() + (l + 1) * state;
    start.z.emplace_back(end - keys, end);
  }
  const auto weight = [&](const std::string& name) {
    const auto& entries = engine.params().layout().entries;
    const auto entry = std::find_if(entries.begin(), entries.end(), [&](const FlatEntry& e) { return e.name == name; });
    return engine.params().weight(static_cast<int>(entry - entries.begin()));
  };
  std::vector<float> query(static_cast<size_t>(config.model.vocab * config.memory.key_dim)),
      phi(static_cast<size_t>(config.model.vocab * keys));
  const View<float> query_view(query.data(), {config.model.vocab, config.memory.key_dim}),
      phi_view(phi.data(), {config.model.vocab, keys});
  Linear::forward(engine.queue(), query_view, Write::Overwrite, weight("model.embed_tokens.weight"),
                  weight("memory.layers.0.query.weight"));
  Dpfp::forward(engine.queue(), phi_view, query_view, config.memory.nu);
  for (int64_t token = 0; token < config.model.vocab; ++token) {
    float sum = 0;
    for (int64_t i = 0; i < keys; ++i)
      sum += phi[static_cast<size_t>(token * keys + i)] * start.z[0][static_cast<size_t>(i)];
    start.text_denominators.push_back(sum);
  }
  return start;
}

TEST(ArmtStart, KeysHaveSquaredNormsNearOneInSmallAndLargeModels) {
  for (const int dim : {64, 1024}) {
    const Start start = start_of(dim, 1);  // z is the only key, times a gamma near 1
    for (size_t l = 0; l < start.z.size(); ++l) {
      double square = 0;
      for (const float value : start.z[l]) square += double(value) * value;
      EXPECT_GT(square, 0.3) << "dim " << dim << ", layer " << l;
      EXPECT_LT(square, 3) << "dim " << dim << ", layer " << l;
    }
  }
}

TEST(ArmtStart, TextReadsWithDenominatorsFarAboveEps) {
  for (const int dim : {64, 1024}) {
    const Start start = start_of(dim, 8);
    for (const float denominator : start.text_denominators)
      EXPECT_GT(denominator, 100 * Associative::kEps) << "dim " << dim;
  }
}

}  // namespace
}  // namespace memring
