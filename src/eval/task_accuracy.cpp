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
#include "data/task_data.h"

namespace memring {
namespace {

class Judge final : public ResultSink {
 public:
  explicit Judge(int64_t samples) : wrong(static_cast<size_t>(samples)) {}
  void losses(int64_t, int64_t, ConstView<> nll, std::span<const int32_t> targets) override {
    by_float_type(nll.dtype(), [&]<class T>() {
      for (size_t i = 0; i < targets.size(); ++i)
        if (targets[i] != kIgnoredTarget) answers.nll += static_cast<double>(nll.as<T>()[i]);
    });
  }
  void logits(int64_t sequence, int64_t, ConstView<> logits, std::span<const int32_t> targets) override {
    const int64_t vocab = logits.shape()[1];
    by_float_type(logits.dtype(), [&]<class T>() {
      for (size_t i = 0; i < targets.size(); ++i) {
        if (targets[i] == kIgnoredTarget) continue;
        const T* row = logits.as<T>() + static_cast<int64_t>(i) * vocab;
        const bool right = std::max_element(row, row + vocab) - row == targets[i];
        answers.tokens.asked += 1;
        answers.tokens.right += right;
        wrong[static_cast<size_t>(first + sequence)] += !right;
      }
    });
  }
  Answers answers;
  int64_t first = 0;          ///< sample of the batch that runs
  std::vector<double> wrong;  ///< tokens of each sample, which may be on several ranks
};

Answers judge(TrainedModel& model, const Dataset& dataset, int64_t samples, const SequenceShape& shape,
              Session& session) {
  Judge judge(samples);
  Answers& answers = judge.answers;
  for (; judge.first < samples; judge.first += model.batch())
    answers.seconds += model.run(dataset, {judge.first, std::min(judge.first + model.batch(), samples)}, shape, judge);
  double sums[3] = {answers.tokens.right, answers.tokens.asked, answers.nll};
  session.world().all_reduce_sum(View<double>(sums, {3}));
  session.world().all_reduce_sum(View<double>(judge.wrong.data(), {samples}));
  answers.tokens = {sums[0], sums[1]};
  answers.nll = sums[2];
  answers.exact = {static_cast<double>(std::count(judge.wrong.begin(), judge.wrong.end(), 0.0)),
                   static_cast<double>(samples)};
  return answers;
}

/// Of the share of tokens. Those of one answer are right or wrong together: as many are independent as there are
/// samples.
Interval token_interval(const Answers& a) {
  if (a.tokens.asked == 0) return {};
  return confidence({a.tokens.right * (a.exact.asked / a.tokens.asked), a.exact.asked});
}

nlohmann::ordered_json json_of(const Answers& a) {
  const Interval tokens = token_interval(a), exact = confidence(a.exact);
  return {{"accuracy", a.tokens.value()},   {"low", tokens.low},         {"high", tokens.high},
          {"right", a.tokens.right},        {"answers", a.tokens.asked}, {"exact_match", a.exact.value()},
          {"exact_low", exact.low},         {"exact_high", exact.high},  {"exact", a.exact.right},
          {"loss", a.nll / a.tokens.asked}, {"seconds", a.seconds}};
}

double tokens_per_second(const TaskAccuracy& t, const TaskRow& row) {
  return static_cast<double>(t.samples * row.shape.length) / std::max(row.as_trained.seconds, 1e-9);
}

/// Of the depths of eval.depths, or, without one, that of the configuration.
std::vector<std::optional<double>> depths_of(const Config& config) {
  std::vector<std::optional<double>> depths;
  for (const double depth : parse_depths(config.eval.depths)) depths.emplace_back(depth);
  if (depths.empty()) depths.emplace_back();
  return depths;
}

bool by_depth(const TaskAccuracy& t) { return t.rows.front().depth.has_value(); }
/// Where answers have one token, exact match says nothing new.
bool has_exact_match(const TaskAccuracy& t) {
  const Answers& first = t.rows.front().as_trained;
  return first.tokens.asked > first.exact.asked;
}

/// Text tokens of the longest segment, where frequencies follow it and rows are of several lengths.
std::optional<int64_t> one_window_for_all(const Config& config, const std::vector<SequenceShape>& shapes) {
  if (config.rope.scaling != RopeScaling::Dynamic && config.rope.scaling != RopeScaling::LongRope) return {};
  const auto [least, most] = std::minmax_element(
      shapes.begin(), shapes.end(), [](const auto& a, const auto& b) { return a.text_of(0) < b.text_of(0); });
  return least->text_of(0) < most->text_of(0) ? std::optional(most->text_of(0)) : std::nullopt;
}

std::string interval_text(const Interval& interval) {
  return fmt::format("{:.4f}-{:.4f}", interval.low, interval.high);
}

struct Column {
  std::string_view head;
  int width;
  std::string (*text)(const TaskAccuracy&, const TaskRow&);
  bool (*shown)(const TaskAccuracy&) = [](const TaskAccuracy&) { return true; };
};

using T = const TaskAccuracy&;
using R = const TaskRow&;
constexpr Column kColumns[] = {
    {"segments", 9, [](T, R r) { return fmt::format("{}", r.shape.segments()); }},
    {"tokens", 7, [](T, R r) { return fmt::format("{}", r.shape.text_of(0)); }},
    {"in all", 12, [](T, R r) { return grouped(r.shape.length); }},
    {"depth", 6, [](T, R r) { return fmt::format("{:g}", *r.depth); }, by_depth},
    {"accuracy", 9, [](T, R r) { return fmt::format("{:.4f}", r.as_trained.tokens.value()); }},
    {"95 % interval", 15, [](T, R r) { return interval_text(token_interval(r.as_trained)); }},
    {"exact match", 12, [](T, R r) { return fmt::format("{:.4f}", r.as_trained.exact.value()); }, has_exact_match},
    {"95 % interval", 15, [](T, R r) { return interval_text(confidence(r.as_trained.exact)); }, has_exact_match},
    {"memory reset", 13, [](T, R r) { return r.reset ? fmt::format("{:.4f}", r.reset->tokens.value()) : "-"; }},
    {"seconds", 9, [](T, R r) { return fmt::format("{:.1f}", r.as_trained.seconds); }},
    {"tokens/s", 10, [](T t, R r) { return fmt::format("{:.0f}", tokens_per_second(t, r)); }},
    {"MiB", 9, [](T t, R) { return fmt::format("{:.1f}", t.peak_memory / (1 << 20)); }},
};

template <class F>
std::string line_of(const TaskAccuracy& t, const F& text) {
  std::string line;
  for (const Column& column : kColumns)
    if (column.shown(t)) line += fmt::format("{}{:>{}}", line.empty() ? "" : " ", text(column), column.width);
  return line + "\n";
}

}  // namespace

Interval confidence(const Accuracy& answers) {
  constexpr double kZ = 1.959963984540054;  // 97.5 % of the normal distribution
  if (answers.asked == 0) return {};
  const double n = answers.asked, p = answers.value(), z2 = kZ * kZ / n;
  const double middle = (p + z2 / 2) / (1 + z2), half = kZ / (1 + z2) * std::sqrt(p * (1 - p) / n + z2 / (4 * n));
  return {std::max(middle - half, 0.0), std::min(middle + half, 1.0)};
}

TaskAccuracy evaluate_task(const Config& config, const CheckpointChoice& choice, Session& session,
                           const std::function<void(const TaskAccuracy&)>& done) {
  constexpr int64_t kSamples = 256;
  const TaskData data = open_task(config);
  require_same_tokens(session.world(), config.data.path, data.digest());
  const auto shapes = eval_shapes(config);
  TaskAccuracy result;
  result.kind = word_of(config.data.kind);
  result.data = data.description();
  result.samples = config.eval.sequences > 0 ? config.eval.sequences : kSamples;

  Workload workload = workload_of(config, std::min(config.data.batch, result.samples), shapes, false);
  workload.logits = Workload::Logits::Counted;
  TrainedModel model(config, choice, workload, session);
  result.checkpoint = model.checkpoint().path;
  result.step = model.checkpoint().step;
  result.warnings = model.warnings();
  if (const auto longest = one_window_for_all(config, shapes))
    result.warnings.push_back(
        fmt::format("rope.scaling = {}: every row has the frequencies of the longest segment, of "
                    "{} tokens; evaluate a length by itself for its own",
                    word_of(config.rope.scaling), grouped(*longest)));
  result.unfinished = model.unfinished();
  result.other = model.other();

  for (const SequenceShape& shape : shapes)
    for (const std::optional<double>& depth : depths_of(config)) {
      TaskConfig task = config.task;
      task.depth = depth.value_or(task.depth);
      const TaskData at_depth = data.with(task);
      TaskRow row{.shape = shape,
                  .depth = depth,
                  .as_trained = judge(model, at_depth, result.samples, shape, session),
                  .reset = {}};
      if (model.has_control()) {
        model.reset_memory(true);
        row.reset = judge(model, at_depth, result.samples, shape, session);
        model.reset_memory(false);
      }
      data.expect_unchanged([&] { session.progress().advance(); });
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
    if (row.depth) json["depth"] = *row.depth;
    json.update(json_of(row.as_trained));
    json["tokens_per_s"] = tokens_per_second(t, row);
    if (row.reset) json["reset"] = json_of(*row.reset);
    rows.push_back(std::move(json));
  }
  nlohmann::ordered_json json = {{"schema", 1},    {"kind", t.kind}, {"checkpoint", t.checkpoint},
                                 {"step", t.step}, {"data", t.data}, {"samples", t.samples}};
  if (!t.unfinished.empty()) json["unfinished"] = t.unfinished;
  add_to(json, t.other);
  json["rows"] = std::move(rows);
  json["peak_memory_mib"] = t.peak_memory / (1 << 20);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string head_of(const TaskAccuracy& t) {
  return fmt::format("{}: step {}, {}, {} samples a row\n{}\n{}", t.checkpoint, t.step, t.data, t.samples,
                     to_text(t.other), line_of(t, [](const Column& column) { return column.head; }));
}

std::string newest_row(const TaskAccuracy& t) {
  return line_of(t, [&](const Column& column) { return column.text(t, t.rows.back()); });
}

std::string heat_map(const TaskAccuracy& t) {
  if (t.rows.empty() || !by_depth(t)) return {};
  // Rows come length by length, each with all depths.
  const auto second = std::find_if(t.rows.begin() + 1, t.rows.end(), [&](R r) { return r.depth == t.rows[0].depth; });
  const auto depths = static_cast<size_t>(second - t.rows.begin());
  constexpr std::string_view kShades[] = {" ", "░", "▒", "▓", "█"};
  std::string text = "\nexact match in percent, by depth of the key and tokens\n\n  depth";
  for (size_t i = 0; i < t.rows.size(); i += depths) text += fmt::format(" {:>13}", grouped(t.rows[i].shape.length));
  for (size_t depth = 0; depth < depths; ++depth) {
    text += fmt::format("\n{:>7g}", *t.rows[depth].depth);
    for (size_t i = depth; i < t.rows.size(); i += depths) {
      const double value = t.rows[i].as_trained.exact.value();
      std::string bar;
      for (int cell = 0; cell < 7; ++cell) bar += kShades[std::lround(value * 4)];
      text += fmt::format(" {} {:>5.1f}", bar, 100 * value);
    }
  }
  return text + "\n";
}

}  // namespace memring
