// SPDX-License-Identifier: Apache-2.0
#include "data/task_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "config/shapes.h"

namespace memring {
namespace {

/// What fills the places that a task leaves free.
struct Noise {
  std::shared_ptr<const TokenFile> text;
  int32_t first = 0;  ///< id of its first word
  int32_t words = 0;

  /// Each sample reads the text from a place of its own, and on from the start where it ends.
  void write(const Random& draws, int64_t begin, std::span<int32_t> tokens) const {
    if (!text) {
      for (size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = first + static_cast<int32_t>(draws.below(static_cast<uint32_t>(begin) + static_cast<uint32_t>(i),
                                                             static_cast<uint64_t>(words)));
      return;
    }
    const int64_t size = text->tokens();
    int64_t position = (static_cast<int64_t>(draws.below(0, static_cast<uint64_t>(size))) + begin) % size;
    for (size_t done = 0; done < tokens.size(); position = 0) {
      const auto piece = tokens.subspan(done, std::min(tokens.size() - done, static_cast<size_t>(size - position)));
      text->read(position, piece);
      done += piece.size();
    }
    for (int32_t& token : tokens) token += first;
  }
};

class TaskSamples final : public TokenSource {
 public:
  TaskSamples(std::shared_ptr<const Task> task, Noise noise, const SequenceShape& shape, int64_t first, int64_t count,
              uint64_t seed, bool held_out, bool answer_only)
      : task_(std::move(task)),
        noise_(std::move(noise)),
        shape_(shape),
        first_(first),
        count_(count),
        seed_(seed),
        held_out_(held_out),
        answer_only_(answer_only) {}

  int64_t sequences() const override { return count_; }
  SequenceShape shape() const override { return shape_; }

  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    const auto count = static_cast<int64_t>(tokens.size());
    check(sequence >= 0 && sequence < count_ && begin >= 0 && count <= shape_.length - begin &&
              targets.size() == tokens.size(),
          fmt::format("positions {} to {} of sequence {} with {} targets, of {} sequences of {}", begin, begin + count,
                      sequence, targets.size(), count_, shape_.length));
    const Random draws = random(sequence, 0);
    noise_.write(random(sequence, 1), begin, tokens);
    task_->write(draws, shape_, begin, tokens);

    if (!answer_only_) noise_.write(random(sequence, 1), begin + 1, targets);
    const int64_t answer =
        answer_only_ ? std::clamp(task_->answer_begin(shape_) - begin, int64_t{0}, count) : int64_t{0};
    std::fill(targets.begin(), targets.begin() + answer, kIgnoredTarget);
    task_->write(draws, shape_, begin + answer + 1, targets.subspan(static_cast<size_t>(answer)));
  }

 private:
  /// The sample's draws (0) or its noise (1).
  Random random(int64_t sequence, uint32_t stream) const {
    return Random(seed_, Purpose::Task, static_cast<uint64_t>(first_ + sequence), 2 * (held_out_ ? 1 : 0) + stream);
  }

  std::shared_ptr<const Task> task_;
  Noise noise_;
  SequenceShape shape_;
  int64_t first_, count_;
  uint64_t seed_;
  bool held_out_, answer_only_;
};

}  // namespace

TaskData::TaskData(const DataConfig& data, const TaskConfig& task, uint64_t seed, ObjectiveKind objective)
    : kind_(data.kind),
      batch_(data.batch),
      seed_(seed),
      answer_only_(objective == ObjectiveKind::Auto || objective == ObjectiveKind::Answer),
      training_(make_task(data.kind, task, false)),
      held_out_(make_task(data.kind, task, true)),
      noise_words_(task.noise) {
  if (data.path.empty()) return;
  text_ = std::make_shared<const TokenFile>(data.path);
  if (text_->tokens() == 0)
    throw Error(ExitCode::Data, fmt::format("{} holds no tokens to take noise from", data.path),
                "Pack some text, or leave data.path empty for random words.");
  noise_words_ = static_cast<int32_t>(text_->vocab());
}

TaskData TaskData::with(const TaskConfig& task) const {
  TaskData other = *this;
  other.training_ = make_task(kind_, task, false);
  other.held_out_ = make_task(kind_, task, true);
  return other;
}

void TaskData::expect_room(int64_t vocab, std::span<const SequenceShape> shapes) const {
  const int64_t used = training_->vocab() + noise_words_;
  if (used > vocab)
    throw Error(
        ExitCode::Usage,
        fmt::format("data.kind = {} uses {} token ids ({} of them noise), outside the model's vocabulary (vocab "
                    "= {})",
                    word_of(kind_), grouped(used), grouped(noise_words_), grouped(vocab)),
        fmt::format("Set model.vocab = {}.", used));
  for (const SequenceShape& shape : shapes) {
    const int64_t last = shape.text_of(shape.segments() - 1);
    if (shape.segments() < training_->fewest_segments())
      throw Error(ExitCode::Usage,
                  fmt::format("data.kind = {} needs at least {} segments, found {}", word_of(kind_),
                              training_->fewest_segments(), shape.segments()),
                  "Set data.length, curriculum.stages, eval.segments or eval.lengths to more segments.");
    if (last < training_->least_text())
      throw Error(
          ExitCode::Usage,
          fmt::format("data.kind = {} needs {} tokens in the last segment; {} tokens in segments of {} "
                      "leave it {}",
                      word_of(kind_), training_->least_text(), grouped(shape.length), grouped(shape.text_of(0)), last),
          "Set segment.length to at least that, and lengths (data.length, curriculum.stages, eval.segments or "
          "eval.lengths) to multiples of it.");
    training_->expect_enough_for(shape);
  }
}

std::unique_ptr<TokenSource> TaskData::at(int64_t step, const SequenceShape& shape) const {
  const Noise noise{text_, static_cast<int32_t>(training_->vocab()), noise_words_};
  return std::make_unique<TaskSamples>(training_, noise, shape, step * batch_, batch_, seed_, false, answer_only_);
}

std::unique_ptr<TokenSource> TaskData::in_order(int64_t first, int64_t count, const SequenceShape& shape) const {
  const Noise noise{text_, static_cast<int32_t>(held_out_->vocab()), noise_words_};
  return std::make_unique<TaskSamples>(held_out_, noise, shape, first, count, seed_, true, true);
}

std::string TaskData::digest() const { return text_ ? text_->digest() : ""; }

void TaskData::expect_unchanged(const std::function<void()>& progress) const {
  if (text_) text_->expect_unchanged(progress);
}

std::string TaskData::description() const {
  return fmt::format("task {}, noise from {}", word_of(kind_),
                     text_ ? text_->path() : fmt::format("{} random words", noise_words_));
}

TaskData open_task(const Config& config) {
  TaskData task(config.data, config.task, config.run.seed, config.objective.kind);
  auto shapes = stages_of(config);
  for (const SequenceShape& shape : eval_shapes(config)) shapes.push_back(shape);
  task.expect_room(config.model.vocab, shapes);
  return task;
}

}  // namespace memring
