// SPDX-License-Identifier: Apache-2.0
#include "eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/machine.h"
#include "base/text.h"
#include "checkpoint/agreement.h"

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
  void divergences(int64_t, int64_t position, ConstView<> divergence) override {
    by_float_type(divergence.dtype(), [&]<class T>() {
      for (int64_t i = 0; i < divergence.size(); ++i)
        of(position + i).divergence += static_cast<double>(divergence.as<T>()[i]);
    });
  }
  void sum_over(Communicator& world) {
    std::vector<double> numbers;
    for (const auto& b : buckets) numbers.insert(numbers.end(), {b.nll, b.tokens, b.divergence});
    world.all_reduce_sum(View<double>(numbers.data(), {static_cast<int64_t>(numbers.size())}));
    for (size_t i = 0; i < buckets.size(); ++i) {
      buckets[i].nll = numbers[3 * i];
      buckets[i].tokens = numbers[3 * i + 1];
      buckets[i].divergence = numbers[3 * i + 2];
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

/// One pass over the text with the memory as the model has it now.
Perplexity pass(TrainedModel& model, const Dataset& dataset, const Evaluation& what, const SequenceShape& shape,
                const Config& config, Session& session) {
  Buckets buckets(shape.length, config.eval.buckets);
  double seconds = model.run(dataset, {0, what.sequences}, shape, buckets);
  if (what.tail > 0)
    seconds += model.run(dataset, {what.sequences, what.sequences + 1}, {what.tail, shape.segment_length}, buckets);
  buckets.sum_over(session.world());
  return {buckets.buckets, seconds, config.objective.kind == ObjectiveKind::Distil};
}

nlohmann::ordered_json json_of(std::optional<double> number) {
  return number ? nlohmann::ordered_json(*number) : nlohmann::ordered_json();
}

std::optional<double> perplexity(std::optional<double> loss) {
  return loss ? std::optional(std::exp(*loss)) : std::nullopt;
}

nlohmann::ordered_json json_of(const PositionBucket& b, bool taught) {
  nlohmann::ordered_json json = {{"loss", json_of(b.loss())}, {"perplexity", json_of(perplexity(b.loss()))}};
  if (taught) json["divergence"] = json_of(b.mean_divergence());
  json["tokens"] = b.tokens;
  return json;
}

nlohmann::ordered_json json_of(const Perplexity& p) {
  nlohmann::ordered_json buckets = nlohmann::ordered_json::array();
  for (const auto& b : p.buckets) {
    nlohmann::ordered_json json = {{"from", b.from}, {"to", b.to}};
    json.update(json_of(b, p.taught));
    buckets.push_back(std::move(json));
  }
  nlohmann::ordered_json json = json_of(p.all(), p.taught);
  json["seconds"] = p.seconds;
  json["tokens_per_s"] = p.seconds > 0 ? p.tokens() / p.seconds : 0;
  json["buckets"] = std::move(buckets);
  return json;
}

std::string number_text(std::optional<double> number, int decimals) {
  return number ? fmt::format("{:.{}f}", *number, decimals) : "-";
}

/// Which text, how much of it, and whether the model knows it.
std::string text_line(const Evaluation& e) {
  const double left = static_cast<double>(e.text.tokens - 1) - e.as_trained.tokens();
  return fmt::format("{} (digest {}): {} tokens, {}{}", e.text.path, e.text.digest, grouped(e.text.tokens),
                     left > 0 ? fmt::format("{} of them left out (eval.sequences = {})",
                                            grouped(static_cast<int64_t>(left)), e.sequences)
                              : "all of them scored but one",
                     e.text.training ? "; the model was TRAINED on this text" : "");
}

}  // namespace

PositionBucket Perplexity::all() const {
  PositionBucket all;
  for (const auto& b : buckets) {
    all.nll += b.nll;
    all.tokens += b.tokens;
    all.divergence += b.divergence;
  }
  return all;
}

Evaluation evaluate(const Config& config, const CheckpointChoice& choice, Session& session) {
  const auto dataset = open_dataset(config);
  require_same_tokens(session.world(), config.data.path, dataset->digest());
  Evaluation result;
  result.length = config.data.length;
  const int64_t wanted = config.eval.sequences > 0 ? config.eval.sequences : dataset->sequences() + 1;
  result.sequences = std::min(wanted, dataset->sequences());
  result.tail = wanted > result.sequences ? dataset->tail() : 0;

  const int64_t batch = std::min(config.data.batch, result.sequences);
  const SequenceShape shape = sequence_shape(config);
  Workload workload = workload_of(config, batch, {shape}, false);
  workload.teaching = teaching_of(config);
  TrainedModel model(config, choice, workload, session);
  result.checkpoint = model.checkpoint().path;
  result.step = model.checkpoint().step;
  result.warnings = model.warnings();
  result.unfinished = model.unfinished();
  result.other = model.other();
  result.text = {config.data.path, dataset->digest(), dataset->tokens(), model.trained_on(*dataset)};

  result.as_trained = pass(model, *dataset, result, shape, config, session);
  if (model.has_control()) {
    model.reset_memory(true);
    result.reset = pass(model, *dataset, result, shape, config, session);
  }
  dataset->expect_unchanged([&] { session.progress().advance(); });
  result.peak_memory = static_cast<double>(session.world().all_reduce_max(peak_memory()));
  return result;
}

std::string to_json(const Evaluation& e) {
  nlohmann::ordered_json json = {
      {"schema", 1},
      {"checkpoint", e.checkpoint},
      {"step", e.step},
      {"data",
       {{"path", e.text.path}, {"digest", e.text.digest}, {"tokens", e.text.tokens}, {"training", e.text.training}}},
      {"sequences", e.sequences},
      {"length", e.length},
      {"tail", e.tail}};
  if (!e.unfinished.empty()) json["unfinished"] = e.unfinished;
  add_to(json, e.other);
  json.update(json_of(e.as_trained));
  if (e.reset) json["reset"] = json_of(*e.reset);
  json["peak_memory_mib"] = e.peak_memory / (1 << 20);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string to_table(const Evaluation& e) {
  const bool taught = e.as_trained.taught;
  std::string text =
      fmt::format("{}: step {}, {} sequence{} of {} tokens{}\n{}\n{}\n{:>24}  {:>10} {:>12}{}{}\n", e.checkpoint,
                  e.step, e.sequences, e.sequences == 1 ? "" : "s", e.length,
                  e.tail > 0 ? fmt::format(" and one of {}", e.tail) : "", text_line(e), to_text(e.other), "positions",
                  "loss", "perplexity", taught ? fmt::format(" {:>10}", "divergence") : "",
                  e.reset ? fmt::format("  {:>12} {:>8}", "memory reset", "gain") : "");
  const auto line = [&](const std::string& name, const PositionBucket& b, std::optional<double> reset) {
    const std::optional<double> loss = b.loss();
    const auto gain = loss && reset ? std::optional(*reset - *loss) : std::nullopt;
    text += fmt::format("{:>24}  {:>10} {:>12}{}{}\n", name, number_text(loss, 4), number_text(perplexity(loss), 3),
                        taught ? fmt::format(" {:>10}", number_text(b.mean_divergence(), 4)) : "",
                        e.reset ? fmt::format("  {:>12} {:>8}", number_text(reset, 4), number_text(gain, 4)) : "");
  };
  for (size_t i = 0; i < e.as_trained.buckets.size(); ++i) {
    const auto& b = e.as_trained.buckets[i];
    line(fmt::format("{} .. {}", b.from, b.to), b, e.reset ? e.reset->buckets[i].loss() : std::nullopt);
  }
  line("all", e.as_trained.all(), e.reset ? e.reset->loss() : std::nullopt);
  text += fmt::format("\n{:.0f} tokens/s, peak memory of a rank {:.1f} MiB\n",
                      e.as_trained.seconds > 0 ? e.as_trained.tokens() / e.as_trained.seconds : 0,
                      e.peak_memory / (1 << 20));
  return text;
}

}  // namespace memring
