// Memory tasks: the answer follows from the text, and only from it; any range of a sample reads the same; samples are a
// pure function of seed and number.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "config/shapes.h"
#include "data/task_data.h"
#include "data/token_file.h"
#include "files.h"

namespace memring {
namespace {

using test::expect_error;
using test::TemporaryFolder;

constexpr std::array kKinds = {"memorize", "detect", "reasoning", "associative", "copy", "passkey"};
constexpr int64_t kSegment = 16;

Config task_config(const std::string& kind, const std::vector<std::string>& more = {}) {
  std::vector<std::string> settings = {"data.kind=" + kind, "segment.length=16", "data.length=112", "data.batch=8",
                                       "memory.kind=rmt",   "model.vocab=200",   "task.symbols=20"};
  settings.insert(settings.end(), more.begin(), more.end());
  return load_config("", settings);
}

SequenceShape segments(int64_t count) { return {count * kSegment, kSegment}; }

/// A whole sample: tokens [length + 1], whose last is the last target; and which targets are counted.
struct Sample {
  std::vector<int32_t> tokens, targets;
  int32_t answer() const { return targets.back(); }
};

Sample sample_of(const TokenSource& source, int64_t sequence) {
  const auto length = static_cast<size_t>(source.shape().length);
  Sample sample{std::vector<int32_t>(length), std::vector<int32_t>(length)};
  source.read(sequence, 0, sample.tokens, sample.targets);
  return sample;
}

std::vector<Sample> held_out(const Config& config, int64_t count, const SequenceShape& shape) {
  const auto source = open_dataset(config)->in_order(0, count, shape);
  std::vector<Sample> samples;
  for (int64_t i = 0; i < count; ++i) samples.push_back(sample_of(*source, i));
  return samples;
}

// What the words are (tasks.cpp): question 0, answer 1, separator 2, names 3-6, actions 7-10, places 11-16, relations
// 17-20; in associative and copy symbols begin at 3.
bool is_place(int32_t token) { return token >= 11 && token < 17; }

/// Where the fact "NAME ACTION PLACE" that the sample asks for begins; -1: not exactly once.
int64_t find_fact(const Sample& s) {
  const int32_t name = s.tokens[s.tokens.size() - 2];
  int64_t found = -1;
  for (size_t p = 0; p + 3 < s.tokens.size() - 3; ++p) {
    if (s.tokens[p] != name) continue;
    if (found >= 0 || !is_place(s.tokens[p + 2])) return -1;
    found = static_cast<int64_t>(p);
  }
  return found;
}

TEST(Task, AnyRangeOfASampleReadsTheSame) {
  for (const char* kind : kKinds) {
    const auto source = open_dataset(task_config(kind))->in_order(5, 2, {49, kSegment});
    const Sample whole = sample_of(*source, 1);
    for (int64_t begin = 0; begin < 49; ++begin)
      for (int64_t count = 0; count <= 49 - begin; count += 5) {
        std::vector<int32_t> tokens(static_cast<size_t>(count)), targets(tokens.size());
        source->read(1, begin, tokens, targets);
        for (int64_t i = 0; i < count; ++i) {
          const auto at = static_cast<size_t>(begin + i);
          ASSERT_EQ(tokens[static_cast<size_t>(i)], whole.tokens[at]) << kind << " position " << at;
          ASSERT_EQ(targets[static_cast<size_t>(i)], whole.targets[at]) << kind << " position " << at;
        }
      }
  }
}

TEST(Task, CountedTargetsAreTheNextTokens) {
  for (const char* kind : kKinds)
    for (const Sample& s : held_out(task_config(kind), 20, segments(3))) {
      const size_t length = s.tokens.size();
      size_t counted = 0;
      for (size_t p = 0; p < length; ++p) {
        if (s.targets[p] == kIgnoredTarget) continue;
        ++counted;
        if (p + 1 < length) {
          ASSERT_EQ(s.targets[p], s.tokens[p + 1]) << kind << " position " << p;
        }
      }
      const std::string name = kind;
      EXPECT_EQ(counted, name == "copy" ? 2 * (length / 3) : name == "passkey" ? 5 : 1) << kind;
      EXPECT_NE(s.answer(), kIgnoredTarget) << kind;
    }
}

TEST(Task, EveryNextTokenCountsWhereLanguageModellingIsAskedFor) {
  for (const DataKind kind : {DataKind::Memorize, DataKind::Copy, DataKind::Passkey}) {
    DataConfig data;
    data.kind = kind;
    data.batch = 2;
    const TaskData task(data, {}, 3, ObjectiveKind::Lm);
    const SequenceShape shape{96, 16};
    std::vector<int32_t> tokens(96), targets(96), answers(96);
    const auto training = task.at(5, shape), answer = TaskData(data, {}, 3).at(5, shape);
    training->read(1, 0, tokens, targets);
    EXPECT_TRUE(std::equal(tokens.begin() + 1, tokens.end(), targets.begin())) << word_of(kind);
    std::vector<int32_t> same(96);
    answer->read(1, 0, same, answers);
    EXPECT_EQ(same, tokens);
    EXPECT_EQ(answers.back(), targets.back());
    // Held-out samples are judged by their answers.
    task.in_order(0, 1, shape)->read(0, 0, tokens, targets);
    EXPECT_EQ(targets.front(), kIgnoredTarget);
  }
}

TEST(Task, MemorizeAsksForThePlaceOfTheFactAtTheVeryBeginning) {
  std::map<int32_t, int> answers;
  for (const Sample& s : held_out(task_config("memorize", {"task.random_fact=1"}), 600, segments(7))) {
    ASSERT_EQ(find_fact(s), 0) << "held-out samples follow the definition, whatever training mixes in";
    ASSERT_EQ(s.answer(), s.tokens[2]);
    ++answers[s.answer()];
  }
  ASSERT_EQ(answers.size(), 6u);
  for (const auto& [place, count] : answers) EXPECT_NEAR(count, 100, 40) << "place " << place;
}

TEST(Task, DetectPutsTheFactIntoEverySegmentAlike) {
  std::map<int64_t, int> segments_found;
  for (const Sample& s : held_out(task_config("detect"), 700, segments(7))) {
    const int64_t fact = find_fact(s);
    ASSERT_EQ(fact % kSegment, 1);
    ASSERT_EQ(s.answer(), s.tokens[static_cast<size_t>(fact) + 2]);
    ++segments_found[fact / kSegment];
  }
  ASSERT_EQ(segments_found.size(), 7u);
  for (const auto& [segment, count] : segments_found) EXPECT_NEAR(count, 100, 40) << "segment " << segment;
}

TEST(Task, MemorizeMixesFactsAnywhereIntoTrainingAlone) {
  const Config config = task_config("memorize", {"task.random_fact=0.5", "data.batch=400"});
  const auto source = open_dataset(config)->at(3, segments(7));
  int first = 0;
  for (int64_t i = 0; i < 400; ++i) {
    const int64_t fact = find_fact(sample_of(*source, i));
    ASSERT_EQ(fact % kSegment, 0);
    first += fact == 0;
  }
  EXPECT_NEAR(first, 400 * (0.5 + 0.5 / 7), 50);
}

TEST(Task, ReasoningAsksForOneOfTwoFactsAboutOnePlace) {
  int asked_first = 0, same_segment = 0;
  for (const int64_t count : {1, 2, 7})
    for (const Sample& s : held_out(task_config("reasoning"), 200, segments(count))) {
      const size_t end = s.tokens.size();
      const int32_t relation = s.tokens[end - 3], place = s.tokens[end - 2];
      std::vector<size_t> facts;
      for (size_t p = 0; p + 6 < end; ++p)
        if (is_place(s.tokens[p]) && s.tokens[p + 1] >= 17 && s.tokens[p + 1] < 21 && s.tokens[p + 2] == place)
          facts.push_back(p);
      ASSERT_EQ(facts.size(), 2u);
      ASSERT_NE(s.tokens[facts[0]], s.tokens[facts[1]]);
      ASSERT_NE(s.tokens[facts[0] + 1], s.tokens[facts[1] + 1]);
      const bool first = s.tokens[facts[0] + 1] == relation;
      ASSERT_TRUE(first || s.tokens[facts[1] + 1] == relation);
      ASSERT_EQ(s.answer(), s.tokens[facts[first ? 0 : 1]]);
      ASSERT_NE(s.answer(), place);
      asked_first += first;
      same_segment += facts[0] / kSegment == facts[1] / kSegment;
    }
  EXPECT_NEAR(asked_first, 300, 60);
  EXPECT_GT(same_segment, 200);
  EXPECT_LT(same_segment, 400);
}

/// The pairs of an associative sample with keys of `width` symbols, in order.
std::vector<std::pair<std::vector<int32_t>, int32_t>> pairs_of(const Sample& s, int64_t width, int64_t text) {
  std::vector<std::pair<std::vector<int32_t>, int32_t>> pairs;
  for (auto at = s.tokens.begin(); at + text < s.tokens.end(); at += text) {
    EXPECT_EQ(at[width], 2) << "the separator";
    pairs.emplace_back(std::vector<int32_t>(at, at + width), at[width + 1]);
  }
  return pairs;
}

TEST(Task, AssociativeAsksForTheValueOfAKeyThatComesOnce) {
  for (const int64_t width : {1, 2}) {
    const Config config = task_config("associative", {fmt::format("task.key_length={}", width)});
    std::map<int64_t, int> asked;
    for (const Sample& s : held_out(config, 200, segments(6))) {
      const auto pairs = pairs_of(s, width, kSegment);
      ASSERT_EQ(pairs.size(), 5u);
      std::set<std::vector<int32_t>> keys;
      for (const auto& pair : pairs) keys.insert(pair.first);
      ASSERT_EQ(keys.size(), 5u);
      const auto question = s.tokens.end() - width - 2;
      const std::vector<int32_t> key(question, question + width);
      for (size_t i = 0; i < pairs.size(); ++i)
        if (pairs[i].first == key) {
          ASSERT_EQ(s.answer(), pairs[i].second);
          ++asked[static_cast<int64_t>(i)];
        }
    }
    ASSERT_EQ(asked.size(), 5u);
    for (const auto& [pair, count] : asked) EXPECT_NEAR(count, 40, 25) << "pair " << pair;
  }
}

// As many pairs as there are keys: each comes once.
TEST(Task, AssociativeUsesEveryKeyBeforeOneComesTwice) {
  for (const Sample& s : held_out(task_config("associative"), 20, segments(21))) {
    std::set<std::vector<int32_t>> keys;
    for (const auto& pair : pairs_of(s, 1, kSegment)) keys.insert(pair.first);
    ASSERT_EQ(keys.size(), 20u);
  }
}

TEST(Task, AssociativeWithFewDistinctKeysAsksForTheLatestValue) {
  int rewritten = 0;
  for (const Sample& s : held_out(task_config("associative", {"task.distinct_keys=3"}), 200, segments(9))) {
    std::map<std::vector<int32_t>, int32_t> latest;
    std::set<std::vector<int32_t>> changed;
    for (const auto& [key, value] : pairs_of(s, 1, kSegment)) {
      if (latest.count(key) && latest[key] != value) changed.insert(key);
      latest[key] = value;
    }
    ASSERT_LE(latest.size(), 3u);
    const std::vector<int32_t> key(s.tokens.end() - 3, s.tokens.end() - 2);
    ASSERT_TRUE(latest.count(key));
    ASSERT_EQ(s.answer(), latest[key]);
    rewritten += changed.count(key) > 0;
  }
  EXPECT_GT(rewritten, 100);
}

TEST(Task, CopyIsTheSourceTwice) {
  for (const int64_t length : {72, 73, 74}) {
    for (const Sample& s : held_out(task_config("copy"), 20, {length, kSegment})) {
      const size_t pad = static_cast<size_t>(length % 3);
      for (size_t i = 0; i < 48; ++i) ASSERT_EQ(s.targets[pad + 24 + i], s.tokens[pad + i % 24]) << "symbol " << i;
      ASSERT_EQ(s.tokens[pad + 24], 1) << "the start token";
    }
  }
}

/// Where "1 DIGITS 2" stands, whose digits are those of "0 1 DIGITS" at the end; fails where it is not there once.
int64_t find_key(const Sample& s, int64_t digits) {
  const auto answer = s.targets.end() - digits;
  EXPECT_EQ(s.tokens[s.tokens.size() - static_cast<size_t>(digits) - 1], 0) << "the question";
  EXPECT_EQ(s.tokens[s.tokens.size() - static_cast<size_t>(digits)], 1) << "the mark before the answer";
  std::vector<int32_t> key(answer, s.targets.end());
  for (const int32_t digit : key) EXPECT_TRUE(digit >= 3 && digit < 13) << digit;
  key.insert(key.begin(), 1);
  key.push_back(2);
  const auto found = std::search(s.tokens.begin(), s.tokens.end(), key.begin(), key.end());
  EXPECT_NE(found, s.tokens.end());
  EXPECT_EQ(std::count(s.tokens.begin(), s.tokens.end(), 2), 1);
  return found - s.tokens.begin();
}

TEST(Task, PasskeyAsksForTheDigitsThatAreHiddenInTheNoise) {
  for (const int64_t digits : {1, 5, 9}) {
    const Config config =
        task_config("passkey", {fmt::format("task.digits={}", digits), "segment.length=0", "memory.kind=none"});
    std::map<int64_t, int> third;
    std::set<std::vector<int32_t>> keys;
    const int64_t length = 112, noise = length + 1 - 2 * (digits + 2);
    for (const Sample& s : held_out(config, 300, {length, 0})) {
      const int64_t begin = find_key(s, digits);
      ASSERT_GE(begin, 0);
      ASSERT_LE(begin, noise);
      ++third[3 * begin / (noise + 1)];
      keys.insert({s.targets.end() - digits, s.targets.end()});
      for (int64_t p = 0; p < length; ++p)
        ASSERT_EQ(s.targets[static_cast<size_t>(p)] != kIgnoredTarget, p >= length - digits) << p;
    }
    for (int64_t i = 0; i < 3; ++i) EXPECT_NEAR(third[i], 100, 40) << "third " << i;
    EXPECT_GT(keys.size(), digits == 1 ? 9u : 290u);
  }
}

TEST(Task, PasskeyStandsAtTheDepthThatIsAskedForAndElseIsTheSame) {
  const Config config = task_config("passkey", {"segment.length=0", "memory.kind=none"});
  const TaskData data = open_task(config);
  const SequenceShape shape{64, 0};
  const int64_t noise = 64 + 1 - 2 * 7;
  TaskConfig task = config.task;
  std::vector<int32_t> answer;
  for (const double depth : {0.0, 0.25, 0.5, 1.0}) {
    task.depth = depth;
    const TaskData at_depth = data.with(task);
    for (const auto& source : {at_depth.in_order(3, 4, shape), at_depth.at(7, shape)})
      for (int64_t i = 0; i < 4; ++i)
        EXPECT_EQ(find_key(sample_of(*source, i), 5), std::llround(depth * static_cast<double>(noise)));
    const Sample sample = sample_of(*at_depth.in_order(3, 4, shape), 2);
    const std::vector<int32_t> key(sample.targets.end() - 5, sample.targets.end());
    if (answer.empty()) answer = key;
    EXPECT_EQ(key, answer) << "the same key at every depth";
  }
  // The shortest sequence that holds key and question has no noise.
  EXPECT_EQ(find_key(sample_of(*data.in_order(0, 1, {13, 0}), 0), 5), 0);
  expect_error(ExitCode::Usage, {"passkey", "13 tokens", "leave it 12"}, [] {
    open_dataset(task_config("passkey", {"segment.length=0", "memory.kind=none", "data.length=12"}));
  });
  expect_error(ExitCode::Usage, {"passkey", "leave it 12"}, [] {
    open_dataset(task_config("passkey", {"segment.length=0", "memory.kind=none", "eval.lengths=64,12"}));
  });
  expect_error(ExitCode::Usage, {"task.depth = -0.5", "neither"}, [] { task_config("passkey", {"task.depth=-0.5"}); });
}

TEST(Task, SamplesDependOnSeedAndNumberAloneAndAreHeldOutFromTraining) {
  for (const char* kind : kKinds) {
    const Config config = task_config(kind);
    Config wide = config, other = config;
    wide.data.batch = 24;
    other.run.seed = 2;
    const auto first = open_dataset(config)->at(2, segments(3)), same = open_dataset(wide)->at(0, segments(3)),
               seeded = open_dataset(other)->at(2, segments(3)),
               kept = open_dataset(config)->in_order(16, 8, segments(3));
    EXPECT_EQ(sample_of(*first, 1).tokens, sample_of(*same, 17).tokens) << kind;
    EXPECT_NE(sample_of(*first, 1).tokens, sample_of(*first, 2).tokens) << kind;
    EXPECT_NE(sample_of(*first, 1).tokens, sample_of(*seeded, 1).tokens) << kind;
    EXPECT_NE(sample_of(*first, 1).tokens, sample_of(*kept, 1).tokens) << kind;
  }
}

TEST(Task, NoiseMayBeTextThatGoesRoundWhereItEnds) {
  const TemporaryFolder folder;
  const std::string path = folder / "text.h5";
  {
    TokenFileWriter writer(path, "bytes", 50);
    writer.begin_document();
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 50; ++i) ids.push_back(i);
    writer.append(ids);
    writer.finish();
  }
  for (const Sample& s : held_out(task_config("memorize", {"data.path=" + path}), 20, segments(7))) {
    const int32_t first_noise = 17, first = s.tokens[3];
    std::vector<int32_t> expected;
    for (int32_t i = 0; i < 112 - 6; ++i) expected.push_back(first_noise + (first - first_noise + i) % 50);
    EXPECT_EQ(std::vector<int32_t>(s.tokens.begin() + 3, s.tokens.end() - 3), expected);
  }
  expect_error(ExitCode::Usage, {"67 token ids", "vocab = 66"}, [&] {
    open_dataset(task_config("memorize", {"data.path=" + path, "model.vocab=66"}));
  });
  expect_error(ExitCode::Data, {"missing.h5"},
               [&] { open_dataset(task_config("memorize", {"data.path=" + folder / "missing.h5"})); });
}

TEST(Task, WhatDoesNotFitIsRefused) {
  expect_error(ExitCode::Usage, {"detect", "49 token ids (32 of them noise)", "vocab = 48"},
               [] { open_dataset(task_config("detect", {"model.vocab=48"})); });
  expect_error(ExitCode::Usage, {"reasoning", "11 tokens", "leave it 10"}, [] {
    open_dataset(task_config("reasoning", {"segment.length=10", "data.length=70"}));
  });
  expect_error(ExitCode::Usage, {"associative", "2 segments", "found 1"},
               [] { open_dataset(task_config("associative", {"data.length=16"})); });
  expect_error(ExitCode::Usage, {"associative", "2 segments", "found 1"},
               [] { open_dataset(task_config("associative", {"eval.segments=7,1"})); });
  // 20 symbols: 20 keys, 400 of two symbols.
  expect_error(ExitCode::Usage, {"22 segments", "21 pairs", "only 20 keys", "task.symbols 20 ^ task.key_length 1"},
               [] { open_dataset(task_config("associative", {"data.length=352"})); });
  expect_error(ExitCode::Usage, {"22 segments", "only 20 keys"},
               [] { open_dataset(task_config("associative", {"eval.segments=7,22"})); });
  expect_error(ExitCode::Usage, {"402 segments", "only 400 keys"}, [] {
    open_dataset(
        task_config("associative", {"curriculum.stages=7,402", "curriculum.promote_loss=1", "task.key_length=2"}));
  });
  expect_error(ExitCode::Usage, {"task.distinct_keys = 21", "only 20 keys"},
               [] { open_dataset(task_config("associative", {"task.distinct_keys=21"})); });
  EXPECT_NO_THROW(open_dataset(task_config("associative", {"data.length=352", "task.distinct_keys=20"})));
  EXPECT_NO_THROW(open_dataset(task_config("associative", {"data.length=352", "task.key_length=12"})));
  expect_error(ExitCode::Usage, {"data.kind = copy needs segments"}, [] {
    load_config("", {"data.kind=copy", "segment.length=0"});
  });
}

}  // namespace
}  // namespace memring
