// Samples of long documents: which tokens a sample has, what its last tokens are asked for, and which documents count.
// SPDX-License-Identifier: Apache-2.0
#include "data/document_samples.h"

#include <fmt/core.h>

#include <map>

#include "files.h"

namespace memring {
namespace {

using test::expect_error;
using test::TemporaryFolder;

constexpr int64_t kWindow = 24;

/// Token i of the file is i, so a token says where it came from.
std::string file_of(const TemporaryFolder& folder, const std::vector<int64_t>& documents) {
  const std::string path = folder / "documents.h5";
  TokenFileWriter writer(path, "counting", 60000);
  int32_t next = 0;
  for (const int64_t length : documents) {
    writer.begin_document();
    std::vector<int32_t> tokens(static_cast<size_t>(length));
    for (int32_t& token : tokens) token = next++;
    writer.append(tokens);
  }
  writer.finish();
  return path;
}

Config config_of(const std::string& path, const std::string& kind, const std::vector<std::string>& more = {}) {
  std::vector<std::string> overrides{
      "data.path=" + path, "positions.kind=" + kind, "positions.target=96", fmt::format("data.length={}", kWindow),
      "data.batch=3",      "model.vocab=60000",      "positions.head=4"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  return parse_config("", "test", overrides);
}

struct Read {
  std::vector<int32_t> tokens, targets, ids;
};

Read read_of(const TokenSource& source, int64_t sequence) {
  Read read{std::vector<int32_t>(kWindow), std::vector<int32_t>(kWindow), std::vector<int32_t>(kWindow)};
  source.read(sequence, 0, read.tokens, read.targets);
  source.positions(sequence, 0, read.ids);
  return read;
}

constexpr SequenceShape kShape{kWindow, 0};

TEST(DocumentSamples, TakeTheirTokensFromOnePieceAndAskForTheNextOnes) {
  const TemporaryFolder folder;
  // Pieces of at most 96: [10, 106), [106, 206 - 4) of 100 + 92; the rest of 20 is too short. [222, 252).
  const std::string path = file_of(folder, {10, 212, 24, 30});
  const std::vector<Range> pieces{{10, 106}, {106, 202}, {246, 276}};
  for (const char* kind : {"cream", "pose"}) {
    SCOPED_TRACE(kind);
    const auto dataset = open_training_dataset(config_of(path, kind));
    ASSERT_EQ(dataset->sequences(), std::ssize(pieces));
    std::map<int64_t, int64_t> ignored, with_positions;
    for (int64_t step = 0; step < 40; ++step) {
      const auto batch = dataset->at(step, kShape);
      ASSERT_TRUE(batch->own_positions());
      std::map<int64_t, int64_t> visited;
      for (int64_t s = 0; s < 3; ++s) {
        const auto [tokens, targets, ids] = read_of(*batch, s);
        size_t p = 0;
        while (p < pieces.size() && tokens[0] >= pieces[p].end) ++p;
        ASSERT_LT(p, pieces.size());
        ++visited[static_cast<int64_t>(p)];
        ASSERT_EQ(tokens[0], pieces[p].begin);
        ASSERT_LT(tokens.back(), pieces[p].end);
        for (size_t i = 0; i + 1 < kWindow; ++i) {
          ASSERT_LT(tokens[i], tokens[i + 1]);
          ASSERT_EQ(targets[i], tokens[i + 1]);
          // A gap between tokens is a gap between ids, or the middle stands before the tail.
          if (ids[i] + 1 != ids[i + 1]) ++with_positions[tokens[i] + 1 != tokens[i + 1]];
        }
        const bool ends = tokens.back() == 275;
        ignored[p] += ends;
        ASSERT_EQ(targets.back(), ends ? kIgnoredTarget : tokens.back() + 1);
      }
      EXPECT_EQ(visited.size(), 3U) << "step " << step << " is an epoch";
    }
    EXPECT_GT(ignored[2], 0);
    EXPECT_GT(with_positions[1], 40);
  }
}

TEST(DocumentSamples, CreamsMiddleHasTheTokensAtItsPositions) {
  const TemporaryFolder folder;
  const auto dataset = open_training_dataset(config_of(file_of(folder, {500}), "cream", {"positions.document=500"}));
  for (int64_t step = 0; step < 50; ++step) {
    const auto batch = dataset->at(step, kShape);
    const auto [tokens, targets, ids] = read_of(*batch, 1);
    for (size_t i = 0; i < kWindow - 8; ++i) ASSERT_EQ(tokens[i], ids[i]);
    EXPECT_EQ(ids.back(), 95);
    EXPECT_EQ(tokens.back(), 499);
  }
}

TEST(DocumentSamples, AreReadAlikeInAnyPieces) {
  const TemporaryFolder folder;
  const auto dataset = open_training_dataset(config_of(file_of(folder, {400, 300}), "pose"));
  const auto batch = dataset->at(7, kShape);
  for (int64_t s = 0; s < 3; ++s) {
    const Read whole = read_of(*batch, s);
    for (const int64_t piece : {1, 5, 23}) {
      std::vector<int32_t> tokens(kWindow), targets(kWindow);
      for (int64_t begin = 0; begin < kWindow; begin += piece) {
        const auto count = static_cast<size_t>(std::min(piece, kWindow - begin));
        const auto at = static_cast<size_t>(begin);
        batch->read(s, begin, std::span(tokens).subspan(at, count), std::span(targets).subspan(at, count));
      }
      EXPECT_EQ(tokens, whole.tokens);
      EXPECT_EQ(targets, whole.targets);
    }
  }
}

TEST(DocumentSamples, NeedADocumentLongerThanTheWindow) {
  const TemporaryFolder folder;
  const std::string path = file_of(folder, {10, 24, 7});
  expect_error(ExitCode::Data, {"no document of", "longer than the window of 24 tokens", "found: 24 at most, of 3"},
               [&] { open_training_dataset(config_of(path, "pose")); });
  // randpos takes the text as it comes, and evaluation does too.
  EXPECT_EQ(open_training_dataset(config_of(path, "randpos"))->sequences(), 1);
  EXPECT_EQ(open_dataset(config_of(path, "pose"))->sequences(), 1);
}

TEST(DocumentSamples, AreNotForEvaluation) {
  const TemporaryFolder folder;
  const auto dataset = open_training_dataset(config_of(file_of(folder, {500}), "pose"));
  expect_error(ExitCode::Internal, {"in order"}, [&] { dataset->in_order(0, 1, kShape); });
}

TEST(PositionedData, KeepsTokensOfManySegmentsAndDrawsIdsForEach) {
  const TemporaryFolder folder;
  const std::vector<std::string> segments{"segment.length=24", "data.length=60"};
  const Config config = config_of(file_of(folder, {500}), "cream", segments);
  const SequenceShape shape{60, 24};
  const auto batch = open_training_dataset(config)->at(2, shape), plain = open_dataset(config)->at(2, shape);
  EXPECT_FALSE(plain->own_positions());
  EXPECT_FALSE(open_training_dataset(config)->in_order(0, 1, shape)->own_positions());
  std::vector<int32_t> tokens(60), targets(60), same(60), same_targets(60), first(24), second(24), last(12);
  batch->read(1, 0, tokens, targets);
  plain->read(1, 0, same, same_targets);
  EXPECT_EQ(tokens, same);
  EXPECT_EQ(targets, same_targets);
  batch->positions(1, 0, first);
  batch->positions(1, 1, second);
  batch->positions(1, 2, last);
  EXPECT_NE(first, second);
  EXPECT_EQ(first.back(), 95);
  EXPECT_EQ(last.back(), 11);
}

}  // namespace
}  // namespace memring
