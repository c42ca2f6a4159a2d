// SPDX-License-Identifier: Apache-2.0
#include "data/tasks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace memring {
namespace {

// Ids that the tasks share; the words of each task follow.
constexpr int32_t kQuestion = 0, kAnswer = 1, kSeparator = 2, kWords = 3;
constexpr int32_t kNames = 4, kActions = 4, kPlaces = 6, kRelations = 4;
constexpr int32_t kName = kWords, kAction = kName + kNames, kPlace = kAction + kActions, kRelation = kPlace + kPlaces;

/// Writes `piece`, whose first token stands at `position`, as far as it lies in the range.
void put(std::span<const int32_t> piece, int64_t position, int64_t begin, std::span<int32_t> tokens) {
  const auto count = static_cast<int64_t>(tokens.size());
  for (int64_t i = 0; i < static_cast<int64_t>(piece.size()); ++i) {
    const int64_t where = position + i - begin;
    if (where >= 0 && where < count) tokens[static_cast<size_t>(where)] = piece[static_cast<size_t>(i)];
  }
}

/// Writes a question and its one-token answer at the end of a sequence.
void ask(std::span<const int32_t> question_and_answer, const SequenceShape& shape, int64_t begin,
         std::span<int32_t> tokens) {
  put(question_and_answer, shape.length + 1 - static_cast<int64_t>(question_and_answer.size()), begin, tokens);
}

int32_t pick(const Random& draws, uint32_t number, int32_t count) {
  return static_cast<int32_t>(draws.below(number, static_cast<uint64_t>(count)));
}

/// "NAME ACTION PLACE", then noise, then "where is NAME?": which of the six places.
class Fact final : public Task {
 public:
  /// The fact begins `offset` tokens into the first segment, or, with probability `random`, into any segment.
  Fact(int64_t offset, double random) : offset_(offset), random_(random) {}
  int64_t vocab() const override { return kRelation; }
  int64_t fewest_segments() const override { return 1; }
  int64_t least_text() const override { return offset_ + 6; }
  int64_t answer_begin(const SequenceShape& shape) const override { return shape.length - 1; }

  void write(const Random& draws, const SequenceShape& shape, int64_t begin, std::span<int32_t> tokens) const override {
    const int32_t name = kName + pick(draws, 0, kNames), action = kAction + pick(draws, 1, kActions),
                  place = kPlace + pick(draws, 2, kPlaces);
    const bool anywhere = draws.uniform(3) < random_;
    const auto segment =
        anywhere ? static_cast<int64_t>(draws.below(4, static_cast<uint64_t>(shape.segments()))) : int64_t{0};
    put(std::array{name, action, place}, segment * shape.segment_length + offset_, begin, tokens);
    ask(std::array{kQuestion, name, kAnswer, place}, shape, begin, tokens);
  }

 private:
  int64_t offset_;
  double random_;
};

/// "A is R1 of B", "C is R2 of B" (bAbI's two-argument relations) in two random segments, then "what is R of B?".
class Reasoning final : public Task {
 public:
  int64_t vocab() const override { return kRelation + kRelations; }
  int64_t fewest_segments() const override { return 1; }
  int64_t least_text() const override { return 11; }
  int64_t answer_begin(const SequenceShape& shape) const override { return shape.length - 1; }

  void write(const Random& draws, const SequenceShape& shape, int64_t begin, std::span<int32_t> tokens) const override {
    const auto segments = static_cast<uint64_t>(shape.segments());
    const auto [middle, first, second] = three_places(draws);
    const int32_t one = pick(draws, 3, kRelations);
    const int32_t other = (one + 1 + pick(draws, 4, kRelations - 1)) % kRelations;
    const auto one_segment = static_cast<int64_t>(draws.below(5, segments)),
               other_segment = static_cast<int64_t>(draws.below(6, segments));
    put(std::array{first, kRelation + one, middle}, one_segment * shape.segment_length + 1, begin, tokens);
    put(std::array{second, kRelation + other, middle},
        other_segment * shape.segment_length + (other_segment == one_segment ? 4 : 1), begin, tokens);
    const bool ask_first = pick(draws, 7, 2) == 0;
    ask(std::array{kQuestion, kRelation + (ask_first ? one : other), middle, kAnswer, ask_first ? first : second},
        shape, begin, tokens);
  }

 private:
  /// Three different places.
  static std::array<int32_t, 3> three_places(const Random& draws) {
    const int32_t a = pick(draws, 0, kPlaces);
    const int32_t b = (a + 1 + pick(draws, 1, kPlaces - 1)) % kPlaces;
    int32_t c = pick(draws, 2, kPlaces - 2);  // among the places that are neither a nor b
    for (const int32_t taken : {std::min(a, b), std::max(a, b)}) c += c >= taken;
    return {kPlace + a, kPlace + b, kPlace + c};
  }
};

/// A pair "KEY value" in each segment but the last, which asks for the value of one of the keys. With `distinct` keys
/// fewer than pairs, keys repeat and the latest value counts (rewrite); 0: all keys differ (remember).
class Associative final : public Task {
 public:
  Associative(int32_t symbols, int32_t values, int64_t key_length, int64_t distinct)
      : symbols_(symbols), values_(values), key_length_(key_length), distinct_(distinct) {
    // Longer keys end with one symbol: 2^31 keys are more than a sequence has segments, and symbols ^ key_length soon
    // leaves 64 bits.
    for (int64_t i = 0; i < key_length && keys_ < kEnough; ++i) keys_ *= static_cast<uint64_t>(symbols);
    if (static_cast<uint64_t>(distinct) > keys_ && keys_ < kEnough)
      throw Error(ExitCode::Usage,
                  fmt::format("task.distinct_keys = {}, but there are only {}", grouped(distinct), keys_text()), kMore);
  }
  int64_t vocab() const override { return kWords + symbols_ + values_; }
  int64_t fewest_segments() const override { return 2; }
  int64_t least_text() const override { return key_length_ + 2; }
  int64_t answer_begin(const SequenceShape& shape) const override { return shape.length - 1; }
  void expect_enough_for(const SequenceShape& shape) const override {
    const int64_t pairs = shape.segments() - 1;
    if (distinct_ > 0 || pairs <= static_cast<int64_t>(keys_)) return;
    throw Error(ExitCode::Usage,
                fmt::format("{} segments of data.kind = associative hold {} pairs whose keys all differ, but there are "
                            "only {}",
                            grouped(shape.segments()), grouped(pairs), keys_text()),
                fmt::format("{} Or set task.distinct_keys: then keys repeat, and the latest value counts.", kMore));
  }

  void write(const Random& draws, const SequenceShape& shape, int64_t begin, std::span<int32_t> tokens) const override {
    const int64_t pairs = shape.segments() - 1, end = begin + static_cast<int64_t>(tokens.size());
    std::vector<int32_t> piece;
    for (int64_t pair = begin / shape.segment_length; pair < pairs && pair * shape.segment_length < end; ++pair) {
      write_key(draws, pair, piece);
      piece.push_back(value(draws, pair));
      put(piece, pair * shape.segment_length, begin, tokens);
    }
    if (end <= shape.length - least_text()) return;
    const auto asked = static_cast<int64_t>(draws.below(0, static_cast<uint64_t>(pairs)));
    int64_t latest = pairs - 1;
    while (key(draws, latest) != key(draws, asked)) --latest;
    write_key(draws, asked, piece);
    piece.push_back(kAnswer);
    piece.push_back(value(draws, latest));
    ask(piece, shape, begin, tokens);
  }

 private:
  static constexpr uint64_t kEnough = uint64_t{1} << 31;
  static constexpr const char* kMore = "Raise task.symbols or task.key_length, with model.vocab where they need it.";

  std::string keys_text() const {
    return fmt::format("{} keys (task.symbols {} ^ task.key_length {})", grouped(static_cast<int64_t>(keys_)), symbols_,
                       key_length_);
  }
  /// The number of a pair's key, in a permutation of all keys that is the sample's own.
  uint64_t key(const Random& draws, int64_t pair) const {
    const auto number = static_cast<uint64_t>(pair);
    const uint64_t which = distinct_ == 0 ? number : draws.below(draw_of(pair), static_cast<uint64_t>(distinct_));
    return permuted(which % keys_, keys_, draws.bits(1), 0);
  }
  int32_t value(const Random& draws, int64_t pair) const {
    return kWords + symbols_ + pick(draws, draw_of(pair) + 1, values_);
  }
  static uint32_t draw_of(int64_t pair) { return static_cast<uint32_t>(2 * pair + 2); }

  void write_key(const Random& draws, int64_t pair, std::vector<int32_t>& piece) const {
    piece.clear();
    uint64_t rest = key(draws, pair);
    for (int64_t i = 0; i < key_length_; ++i) {
      piece.push_back(kWords + static_cast<int32_t>(rest % static_cast<uint64_t>(symbols_)));
      rest /= static_cast<uint64_t>(symbols_);
    }
    piece.push_back(kSeparator);
  }

  int32_t symbols_, values_;
  int64_t key_length_, distinct_;
  uint64_t keys_ = 1;
};

/// K random symbols, a start token, then the symbols twice: 3 K tokens, of which 2 K are the answer.
class Copy final : public Task {
 public:
  explicit Copy(int32_t symbols) : symbols_(symbols) {}
  int64_t vocab() const override { return kWords + symbols_; }
  int64_t fewest_segments() const override { return 1; }
  int64_t least_text() const override { return 3; }
  int64_t answer_begin(const SequenceShape& shape) const override { return shape.length - 2 * (shape.length / 3); }

  void write(const Random& draws, const SequenceShape& shape, int64_t begin, std::span<int32_t> tokens) const override {
    const int64_t source = shape.length / 3, start = answer_begin(shape), first = start - source;
    for (size_t i = 0; i < tokens.size(); ++i) {
      const int64_t p = begin + static_cast<int64_t>(i);
      if (p < first) continue;
      const int64_t symbol = p < start ? p - first : (p - start - 1) % source;
      tokens[i] = p == start ? kAnswer : kWords + pick(draws, static_cast<uint32_t>(symbol), symbols_);
    }
  }

 private:
  int32_t symbols_;
};

/// A key of decimal digits between two marks, somewhere in the noise; at the end a question, the first mark once more,
/// and the key: what followed the mark before follows it again.
class Passkey final : public Task {
 public:
  Passkey(int64_t digits, double depth) : digits_(digits), depth_(depth) {}
  int64_t vocab() const override { return kWords + kDigits; }
  int64_t fewest_segments() const override { return 1; }
  int64_t least_text() const override { return 2 * pieces() - 1; }
  int64_t answer_begin(const SequenceShape& shape) const override { return shape.length - digits_; }

  void write(const Random& draws, const SequenceShape& shape, int64_t begin, std::span<int32_t> tokens) const override {
    std::vector<int32_t> piece = {kAnswer};
    for (int64_t i = 0; i < digits_; ++i) piece.push_back(kWords + pick(draws, static_cast<uint32_t>(i + 1), kDigits));
    piece.push_back(kSeparator);
    put(piece, key_begin(draws, shape), begin, tokens);
    piece.pop_back();
    piece.insert(piece.begin(), kQuestion);
    ask(piece, shape, begin, tokens);
  }

 private:
  static constexpr int32_t kDigits = 10;
  int64_t pieces() const { return digits_ + 2; }  ///< tokens of the key with its marks, and of question and answer
  int64_t key_begin(const Random& draws, const SequenceShape& shape) const {
    const int64_t noise = shape.length + 1 - 2 * pieces();
    if (depth_ < 0) return static_cast<int64_t>(draws.below(0, static_cast<uint64_t>(noise + 1)));
    return std::llround(depth_ * static_cast<double>(noise));
  }
  int64_t digits_;
  double depth_;
};

}  // namespace

std::unique_ptr<Task> make_task(DataKind kind, const TaskConfig& t, bool held_out) {
  switch (kind) {
    case DataKind::Memorize:
      return std::make_unique<Fact>(0, held_out ? 0 : t.random_fact);
    case DataKind::Detect:
      return std::make_unique<Fact>(1, 1);
    case DataKind::Reasoning:
      return std::make_unique<Reasoning>();
    case DataKind::Associative:
      return std::make_unique<Associative>(t.symbols, t.values, t.key_length, t.distinct_keys);
    case DataKind::Copy:
      return std::make_unique<Copy>(t.symbols);
    case DataKind::Passkey:
      return std::make_unique<Passkey>(t.digits, t.depth);
    case DataKind::Tokens:
      break;
  }
  return nullptr;
}

}  // namespace memring
