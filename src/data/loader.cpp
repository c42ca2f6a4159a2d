// SPDX-License-Identifier: Apache-2.0
#include "data/loader.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"

namespace memring {
namespace {

/// Sequences of a token file by number; the target of a sequence's last position is the first token of the next one,
/// which always exists because the file is cut into (tokens - 1) / length sequences.
class FileSequences : public TokenSource {
 public:
  /// Sequence n begins at token n * stride.
  FileSequences(std::shared_ptr<const TokenFile> file, std::vector<int64_t> numbers, int64_t stride,
                const SequenceShape& shape, int64_t vocab)
      : file_(std::move(file)), numbers_(std::move(numbers)), stride_(stride), shape_(shape), vocab_(vocab) {
    check(shape.length <= stride, fmt::format("sequences of {} tokens, cut for {}", shape.length, stride));
  }

  int64_t sequences() const override { return static_cast<int64_t>(numbers_.size()); }
  SequenceShape shape() const override { return shape_; }

  void read(int64_t sequence, int64_t begin, std::span<int32_t> tokens, std::span<int32_t> targets) const override {
    const auto count = static_cast<int64_t>(tokens.size());
    check(sequence >= 0 && sequence < sequences() && begin >= 0 && count <= shape_.length - begin &&
              targets.size() == tokens.size(),
          fmt::format("positions {} to {} of sequence {} with {} targets, of {} sequences of {}", begin, begin + count,
                      sequence, targets.size(), sequences(), shape_.length));
    if (count == 0) return;
    const int64_t first = numbers_[static_cast<size_t>(sequence)] * stride_ + begin;
    read_known(*file_, vocab_, first, tokens.first(1));
    read_known(*file_, vocab_, first + 1, targets);
    std::copy(targets.begin(), targets.end() - 1, tokens.begin() + 1);
  }

 private:
  std::shared_ptr<const TokenFile> file_;
  std::vector<int64_t> numbers_;
  int64_t stride_;
  SequenceShape shape_;
  int64_t vocab_;
};

}  // namespace

std::vector<int64_t> shuffled_batch(int64_t step, int64_t batch, int64_t count, uint64_t seed) {
  check(step >= 0, fmt::format("batch of step {}", step));
  const auto all = static_cast<uint64_t>(count);
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < batch; ++i) {
    const auto sample = static_cast<uint64_t>(step * batch + i);
    numbers.push_back(static_cast<int64_t>(permuted(sample % all, all, seed, sample / all)));
  }
  return numbers;
}

void read_known(const TokenFile& file, int64_t vocab, int64_t begin, std::span<int32_t> tokens) {
  file.read(begin, tokens);
  const auto unknown = std::find_if(tokens.begin(), tokens.end(), [&](int32_t token) { return token >= vocab; });
  if (unknown == tokens.end()) return;
  throw Error(ExitCode::Data,
              fmt::format("token {} at position {} of {} is outside the model's vocabulary (vocab = {})", *unknown,
                          grouped(begin + (unknown - tokens.begin())), file.path(), grouped(vocab)),
              fmt::format("The file promises ids below {}, so another program has written it. Pack the text again.",
                          grouped(file.vocab())));
}

Loader::Loader(TokenFile file, Options options)
    : file_(std::make_shared<const TokenFile>(std::move(file))), options_(options) {
  check(options_.batch > 0 && options_.length > 0,
        fmt::format("a loader of {} sequences of {} tokens", options_.batch, options_.length));
  if (file_->vocab() > options_.vocab)
    throw Error(ExitCode::Data,
                fmt::format("{} may hold token ids up to {}, outside the model's vocabulary (vocab = {})",
                            file_->path(), grouped(file_->vocab() - 1), grouped(options_.vocab)),
                fmt::format("The file was packed with tokenizer \"{}\" (vocab {}). Pack it again for this model, or "
                            "set model.vocab = {}.",
                            file_->tokenizer(), grouped(file_->vocab()), file_->vocab()));
  if (sequences() == 0)
    throw Error(
        ExitCode::Data,
        fmt::format("{} holds {} tokens; a sequence of {} and the target of its last token need {}", file_->path(),
                    grouped(file_->tokens()), grouped(options_.length), grouped(options_.length + 1)),
        file_->tokens() > 1 ? fmt::format("Set data.length to at most {}, or pack more text.", file_->tokens() - 1)
                            : "Pack more text.");
}

std::string Loader::digest() const { return file_->digest(); }

void Loader::expect_unchanged(const std::function<void()>& progress) const { file_->expect_unchanged(progress); }

std::string Loader::description() const {
  return fmt::format("{}: {} sequence{} of {} tokens, {} tokens used and {} unused", file_->path(), sequences(),
                     sequences() == 1 ? "" : "s", options_.length, grouped(sequences() * options_.length),
                     grouped(tail()));
}

int64_t Loader::sequences() const { return (file_->tokens() - 1) / options_.length; }

std::unique_ptr<TokenSource> Loader::at(int64_t step, const SequenceShape& shape) const {
  return std::make_unique<FileSequences>(file_, shuffled_batch(step, options_.batch, sequences(), options_.seed),
                                         options_.length, shape, options_.vocab);
}

std::unique_ptr<TokenSource> Loader::in_order(int64_t first, int64_t count, const SequenceShape& shape) const {
  const bool the_tail = first == sequences() && count == 1 && shape.length <= tail();
  check(first >= 0 && count >= 0 && (first <= sequences() - count || the_tail),
        fmt::format("sequences {} to {} of {}, which holds {}", first, first + count, file_->path(), sequences()));
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < count; ++i) numbers.push_back(first + i);
  return std::make_unique<FileSequences>(file_, std::move(numbers), options_.length, shape, options_.vocab);
}

}  // namespace memring
