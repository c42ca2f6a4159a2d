// Sequences that are read and repeated: what stands where, whatever range of them is read.
// SPDX-License-Identifier: Apache-2.0
#include "data/repeated_text.h"

#include <numeric>
#include <vector>

#include "data/loader.h"
#include "files.h"

namespace memring {
namespace {

constexpr int64_t kHalf = 12, kSequences = 5;

/// Token i of the file is i; the text is cut into sequences of half the length.
RepeatedText repeated_file(const test::TemporaryFolder& folder) {
  const std::string path = folder / "counting.h5";
  std::vector<int32_t> values(kHalf * kSequences + 1);
  std::iota(values.begin(), values.end(), 0);
  TokenFileWriter writer(path, "counting", 100);
  writer.begin_document();
  writer.append(values);
  writer.finish();
  return RepeatedText(
      std::make_unique<Loader>(TokenFile(path), Loader::Options{.batch = 2, .length = kHalf, .vocab = 100, .seed = 1}));
}

TEST(RepeatedText, StandsOnceAndOnceMoreBehindTheRepeatToken) {
  const test::TemporaryFolder folder;
  const RepeatedText text = repeated_file(folder);
  ASSERT_EQ(text.sequences(), kSequences);
  EXPECT_EQ(text.fewest_segments(), 2);
  const auto source = text.in_order(0, kSequences, {2 * kHalf, 4});
  ASSERT_EQ(source->shape(), (SequenceShape{2 * kHalf, 4}));
  std::vector<int32_t> tokens(2 * kHalf), targets(2 * kHalf);
  for (int64_t s = 0; s < kSequences; ++s) {
    source->read(s, 0, tokens, targets);
    for (int32_t p = 0; p < kHalf; ++p) {
      const auto i = static_cast<size_t>(p);
      const auto x = static_cast<int32_t>(s * kHalf) + p;
      EXPECT_EQ(tokens[i], x);
      EXPECT_EQ(targets[i], kIgnoredTarget);
      EXPECT_EQ(tokens[kHalf + i], p == 0 ? kRepeatToken : x - 1);
      EXPECT_EQ(targets[kHalf + i], x);
    }
  }
}

TEST(RepeatedText, AnyRangeReadsTheSame) {
  const test::TemporaryFolder folder;
  const RepeatedText text = repeated_file(folder);
  const auto source = text.at(3, {2 * kHalf, 6});
  std::vector<int32_t> tokens(2 * kHalf), targets(2 * kHalf);
  source->read(1, 0, tokens, targets);
  for (int64_t begin = 0; begin <= 2 * kHalf; ++begin)
    for (int64_t end = begin; end <= 2 * kHalf; ++end) {
      std::vector<int32_t> some(static_cast<size_t>(end - begin)), theirs(some.size());
      source->read(1, begin, some, theirs);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), tokens.begin() + begin)) << begin << " to " << end;
      EXPECT_TRUE(std::equal(theirs.begin(), theirs.end(), targets.begin() + begin)) << begin << " to " << end;
    }
}

// A curriculum's earlier stage: the beginning of each sequence.
TEST(RepeatedText, ShorterSequencesRepeatTheirBeginning) {
  const test::TemporaryFolder folder;
  const auto source = repeated_file(folder).in_order(2, 1, {8, 4});
  std::vector<int32_t> tokens(8), targets(8);
  source->read(0, 0, tokens, targets);
  EXPECT_EQ(tokens, (std::vector<int32_t>{24, 25, 26, 27, kRepeatToken, 24, 25, 26}));
}

}  // namespace
}  // namespace memring
