// SPDX-License-Identifier: Apache-2.0
#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/machine.h"
#include "eval/trained_model.h"
#include "io/agreement.h"

namespace memring {
namespace {

class Buckets final : public ResultSink {
 public:
  Buckets(int64_t length, int count) : length_(length) {
    for (int64_t i = 0; i < count; ++i) buckets.push_back({.from = length * i / count, .to = length * (i + 1) / count});
  }
  void losses(int64_t, int64_t position, ConstView<> nll, std::span<const int32_t> targets) override {
    by_float_type(nll.dtype(), [&]<class T>() {
      const T* values = nll.as<T>();
      for (size_t i = 0; i < targets.size(); ++i) {
        if (targets[i] == kIgnoredTarget) continue;
        PositionBucket& bucket = of(position + static_cast<int64_t>(i));
        bucket.nll += static_cast<double>(values[i]);
        bucket.tokens += 1;
      }
    });
  }
  void sum_over(Communicator& world) {
    std::vector<double> numbers;
    for (const auto& b : buckets) numbers.insert(numbers.end(), {b.nll, b.tokens});
    world.all_reduce_sum(View<double>(numbers.data(), {static_cast<int64_t>(numbers.size())}));
    for (size_t i = 0; i < buckets.size(); ++i) {
      buckets[i].nll = numbers[2 * i];
      buckets[i].tokens = numbers[2 * i + 1];
    }
  }
  std::vector<PositionBucket> buckets;

 private:
  PositionBucket& of(int64_t position) {
    const auto count = static_cast<int64_t>(buckets.size());
    int64_t i = std::min(position * count / length_, count - 1);
    while (position >= buckets[static_cast<size_t>(i)].to) ++i;
    return buckets[static_cast<size_t>(i)];
  }
  int64_t length_;
};

/// One pass over `sequences` sequences with the memory as `config` says.
Perplexity pass(const Config& config, const std::string& checkpoint, const Dataset& dataset, int64_t sequences,
                Session& session, Evaluation* of = nullptr) {
  const SequenceShape shape = sequence_shape(config);
  TrainedModel model(config, checkpoint, workload_of(config, std::min(config.data.batch, sequences), {shape}, false),
                     session);
  if (of) {
    of->step = model.step();
    of->unfinished = model.unfinished();
  }
  Buckets buckets(shape.length, config.eval.buckets);
  const double seconds = model.run(dataset, sequences, shape, buckets);
  buckets.sum_over(session.world());
  return {buckets.buckets, seconds};
}

nlohmann::ordered_json json_of(const Perplexity& p) {
  nlohmann::ordered_json buckets = nlohmann::ordered_json::array();
  for (const auto& b : p.buckets)
    buckets.push_back(
        {{"from", b.from}, {"to", b.to}, {"loss", b.loss()}, {"perplexity", std::exp(b.loss())}, {"tokens", b.tokens}});
  return {{"loss", p.loss()},
          {"perplexity", std::exp(p.loss())},
          {"tokens", p.tokens()},
          {"seconds", p.seconds},
          {"tokens_per_s", p.seconds > 0 ? p.tokens() / p.seconds : 0},
          {"buckets", buckets}};
}

}  // namespace

double Perplexity::loss() const {
  double nll = 0;
  for (const auto& b : buckets) nll += b.nll;
  return tokens() > 0 ? nll / tokens() : 0;
}

double Perplexity::tokens() const {
  double sum = 0;
  for (const auto& b : buckets) sum += b.tokens;
  return sum;
}

Evaluation evaluate(const Config& config, const std::string& checkpoint, Session& session) {
  const auto dataset = open_dataset(config);
  require_same_tokens(session.world(), config.data.path, dataset->digest());
  const std::string path = find_checkpoint(config, checkpoint);
  Evaluation result;
  result.checkpoint = path;
  result.length = config.data.length;
  result.sequences =
      config.eval.sequences > 0 ? std::min(config.eval.sequences, dataset->sequences()) : dataset->sequences();

  result.as_trained = pass(config, path, *dataset, result.sequences, session, &result);
  if (config.memory.kind != "none" && config.memory.reset == "sequence") {
    Config control = config;
    control.memory.reset = "segment";
    result.reset = pass(control, path, *dataset, result.sequences, session);
  }
  result.peak_memory = static_cast<double>(session.world().all_reduce_max(peak_memory()));
  return result;
}

std::string to_json(const Evaluation& e) {
  nlohmann::ordered_json json = {
      {"schema", 1}, {"checkpoint", e.checkpoint}, {"step", e.step}, {"sequences", e.sequences}, {"length", e.length}};
  if (!e.unfinished.empty()) json["unfinished"] = e.unfinished;
  json.update(json_of(e.as_trained));
  if (e.reset) json["reset"] = json_of(*e.reset);
  json["peak_memory_mib"] = e.peak_memory / (1 << 20);
  return json.dump(2) + "\n";
}

std::string to_table(const Evaluation& e) {
  std::string text = fmt::format("{}: step {}, {} sequences of {} tokens\n{}\n{:>24}  {:>10} {:>12}{}\n", e.checkpoint,
                                 e.step, e.sequences, e.length, warning_of(e.unfinished), "positions", "loss",
                                 "perplexity", e.reset ? fmt::format("  {:>12} {:>8}", "memory reset", "gain") : "");
  const auto line = [&](const std::string& name, double loss, std::optional<double> reset) {
    text += fmt::format("{:>24}  {:>10.4f} {:>12.3f}{}\n", name, loss, std::exp(loss),
                        reset ? fmt::format("  {:>12.4f} {:>8.4f}", *reset, *reset - loss) : "");
  };
  for (size_t i = 0; i < e.as_trained.buckets.size(); ++i) {
    const auto& b = e.as_trained.buckets[i];
    line(fmt::format("{} .. {}", b.from, b.to), b.loss(),
         e.reset ? std::optional(e.reset->buckets[i].loss()) : std::nullopt);
  }
  line("all", e.as_trained.loss(), e.reset ? std::optional(e.reset->loss()) : std::nullopt);
  text += fmt::format("\n{:.0f} tokens/s, peak memory of a rank {:.1f} MiB\n",
                      e.as_trained.seconds > 0 ? e.as_trained.tokens() / e.as_trained.seconds : 0,
                      e.peak_memory / (1 << 20));
  return text;
}

}  // namespace memring
