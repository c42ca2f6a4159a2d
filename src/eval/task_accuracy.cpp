// SPDX-License-Identifier: Apache-2.0
#include "eval/task_accuracy.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/machine.h"
#include "base/text.h"
#include "checkpoint/agreement.h"
#include "config/shapes.h"

namespace memring {
namespace {

class Judge final : public ResultSink {
 public:
  void losses(int64_t, int64_t, ConstView<> nll, std::span<const int32_t> targets) override {
    by_float_type(nll.dtype(), [&]<class T>() {
      for (size_t i = 0; i < targets.size(); ++i)
        if (targets[i] != kIgnoredTarget) answers.nll += static_cast<double>(nll.as<T>()[i]);
    });
  }
  void logits(int64_t, int64_t, ConstView<> logits, std::span<const int32_t> targets) override {
    const int64_t vocab = logits.shape()[1];
    by_float_type(logits.dtype(), [&]<class T>() {
      for (size_t i = 0; i < targets.size(); ++i) {
        if (targets[i] == kIgnoredTarget) continue;
        const T* row = logits.as<T>() + static_cast<int64_t>(i) * vocab;
        answers.asked += 1;
        answers.right += std::max_element(row, row + vocab) - row == targets[i];
      }
    });
  }
  Answers answers;
};

Answers judge(TrainedModel& model, const Dataset& dataset, int64_t samples, const SequenceShape& shape,
              Session& session) {
  Judge judge;
  judge.answers.seconds = model.run(dataset, {0, samples}, shape, judge);
  double numbers[3] = {judge.answers.right, judge.answers.asked, judge.answers.nll};
  session.world().all_reduce_sum(View<double>(numbers, {3}));
  return {numbers[0], numbers[1], numbers[2], judge.answers.seconds};
}

nlohmann::ordered_json json_of(const Answers& a) {
  const Interval interval = confidence(a);
  return {{"accuracy", a.accuracy()}, {"low", interval.low},     {"high", interval.high}, {"right", a.right},
          {"answers", a.asked},       {"loss", a.nll / a.asked}, {"seconds", a.seconds}};
}

double tokens_per_second(const TaskAccuracy& t, const TaskRow& row) {
  return static_cast<double>(t.samples * row.shape.length) / std::max(row.as_trained.seconds, 1e-9);
}

}  // namespace

Interval confidence(const Answers& answers) {
  constexpr double kZ = 1.959963984540054;  // 97.5 % of the normal distribution
  if (answers.asked == 0) return {};
  const double n = answers.asked, p = answers.accuracy(), z2 = kZ * kZ / n;
  const double middle = (p + z2 / 2) / (1 + z2), half = kZ / (1 + z2) * std::sqrt(p * (1 - p) / n + z2 / (4 * n));
  return {std::max(middle - half, 0.0), std::min(middle + half, 1.0)};
}

TaskAccuracy evaluate_task(const Config& config, const CheckpointChoice& choice, Session& session,
                           const std::function<void(const TaskAccuracy&)>& done) {
  constexpr int64_t kSamples = 256;
  const auto dataset = open_dataset(config);
  require_same_tokens(session.world(), config.data.path, dataset->digest());
  const auto shapes = eval_shapes(config);
  TaskAccuracy result;
  result.kind = word_of(config.data.kind);
  result.data = dataset->description();
  result.samples = config.eval.sequences > 0 ? config.eval.sequences : kSamples;

  Workload workload = workload_of(config, std::min(config.data.batch, result.samples), shapes, false);
  workload.logits = Workload::Logits::Counted;
  TrainedModel model(config, choice, workload, session);
  result.checkpoint = model.checkpoint().path;
  result.step = model.checkpoint().step;
  result.warnings = model.warnings();
  result.unfinished = model.unfinished();

  for (const SequenceShape& shape : shapes) {
    TaskRow row{.shape = shape, .as_trained = judge(model, *dataset, result.samples, shape, session), .reset = {}};
    if (model.has_control()) {
      model.reset_memory(true);
      row.reset = judge(model, *dataset, result.samples, shape, session);
      model.reset_memory(false);
    }
    dataset->expect_unchanged([&] { session.progress().advance(); });
    result.rows.push_back(row);
    result.peak_memory = static_cast<double>(session.world().all_reduce_max(peak_memory()));
    done(result);
  }
  return result;
}

std::string to_json(const TaskAccuracy& t) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const TaskRow& row : t.rows) {
    nlohmann::ordered_json json = {
        {"segments", row.shape.segments()}, {"segment_tokens", row.shape.text_of(0)}, {"tokens", row.shape.length}};
    json.update(json_of(row.as_trained));
    json["tokens_per_s"] = tokens_per_second(t, row);
    if (row.reset) json["reset"] = json_of(*row.reset);
    rows.push_back(std::move(json));
  }
  nlohmann::ordered_json json = {{"schema", 1},    {"kind", t.kind}, {"checkpoint", t.checkpoint},
                                 {"step", t.step}, {"data", t.data}, {"samples", t.samples}};
  if (!t.unfinished.empty()) json["unfinished"] = t.unfinished;
  json["rows"] = std::move(rows);
  json["peak_memory_mib"] = t.peak_memory / (1 << 20);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string head_of(const TaskAccuracy& t) {
  return fmt::format("{}: step {}, {}, {} samples a row\n\n{:>9} {:>7} {:>12} {:>9} {:>15} {:>13} {:>9} {:>10} {:>9}\n",
                     t.checkpoint, t.step, t.data, t.samples, "segments", "tokens", "in all", "accuracy",
                     "95 % interval", "memory reset", "seconds", "tokens/s", "MiB");
}

std::string newest_row(const TaskAccuracy& t) {
  const TaskRow& row = t.rows.back();
  const Interval interval = confidence(row.as_trained);
  return fmt::format("{:>9} {:>7} {:>12} {:>9.4f} {:>15} {:>13} {:>9.1f} {:>10.0f} {:>9.1f}\n", row.shape.segments(),
                     row.shape.text_of(0), grouped(row.shape.length), row.as_trained.accuracy(),
                     fmt::format("{:.4f}-{:.4f}", interval.low, interval.high),
                     row.reset ? fmt::format("{:.4f}", row.reset->accuracy()) : "-", row.as_trained.seconds,
                     tokens_per_second(t, row), t.peak_memory / (1 << 20));
}

}  // namespace memring
