// The loader: step to tokens as a pure function; an epoch visits each sequence once; targets are the next tokens.
// SPDX-License-Identifier: Apache-2.0
#include "data/loader.h"

#include <fmt/core.h>

#include <map>

#include "files.h"
#include "io/digest.h"
#include "io/file.h"
#include "io/hdf5.h"

namespace memring {
namespace {

using test::expect_error;
using test::TemporaryFolder;

/// Token i of the file is i, so a token says where it came from.
std::string counting_file(const TemporaryFolder& folder, int64_t tokens, int64_t vocab = 60000) {
  const std::string path = folder / fmt::format("{}-{}.h5", tokens, vocab);
  std::vector<int32_t> values(static_cast<size_t>(tokens));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int32_t>(i);
  TokenFileWriter writer(path, "counting", vocab);
  writer.begin_document();
  writer.append(values);
  writer.finish();
  return path;
}

Loader loader_of(const std::string& path, int64_t batch, int64_t length, uint64_t seed = 1) {
  return Loader(TokenFile(path), {.batch = batch, .length = length, .vocab = 60000, .seed = seed});
}

/// The number of each sequence of a batch; checks all its tokens and targets on the way.
std::vector<int64_t> sequences_of(const TokenSource& source) {
  std::vector<int64_t> numbers;
  const int64_t length = source.shape().length;
  std::vector<int32_t> tokens(static_cast<size_t>(length)), targets(tokens.size());
  for (int64_t s = 0; s < source.sequences(); ++s) {
    source.read(s, 0, tokens, targets);
    EXPECT_EQ(tokens[0] % length, 0);
    for (int64_t p = 0; p < length; ++p) {
      EXPECT_EQ(tokens[static_cast<size_t>(p)], tokens[0] + p);
      EXPECT_EQ(targets[static_cast<size_t>(p)], tokens[0] + p + 1);
    }
    numbers.push_back(tokens[0] / length);
  }
  return numbers;
}

TEST(Loader, EachEpochVisitsEverySequenceOnceInAnotherOrder) {
  const TemporaryFolder folder;
  constexpr int64_t kLength = 7, kSequences = 30;
  const std::string path = counting_file(folder, kLength * kSequences + 1);
  for (const int64_t batch : {1, 2, 3, 5, 30}) {
    const Loader loader = loader_of(path, batch, kLength);
    ASSERT_EQ(loader.sequences(), kSequences);
    std::vector<std::vector<int64_t>> epochs;
    for (int64_t step = 0; step < 3 * kSequences / batch; ++step)
      for (const int64_t number : sequences_of(*loader.at(step, {kLength}))) {
        if (epochs.empty() || epochs.back().size() == kSequences) epochs.emplace_back();
        epochs.back().push_back(number);
      }
    ASSERT_EQ(epochs.size(), 3u);
    for (const auto& epoch : epochs) {
      std::map<int64_t, int> visits;
      for (const int64_t number : epoch) ++visits[number];
      ASSERT_EQ(visits.size(), static_cast<size_t>(kSequences)) << "batch " << batch;
    }
    EXPECT_NE(epochs[0], epochs[1]);
    EXPECT_NE(epochs[1], epochs[2]);
  }
}

TEST(Loader, TheSamplesDoNotDependOnTheBatchSize) {
  const TemporaryFolder folder;
  const std::string path = counting_file(folder, 5 * 23 + 3);
  std::vector<int64_t> expected;
  const Loader one = loader_of(path, 1, 5);
  for (int64_t step = 0; step < 60; ++step) expected.push_back(sequences_of(*one.at(step, {5}))[0]);
  for (const int64_t batch : {2, 3, 4, 15, 60}) {  // none divides the 23 sequences: batches cross epochs
    const Loader loader = loader_of(path, batch, 5);
    std::vector<int64_t> found;
    for (int64_t step = 0; step < 60 / batch; ++step)
      for (const int64_t number : sequences_of(*loader.at(step, {5}))) found.push_back(number);
    EXPECT_EQ(found, expected) << "batch " << batch;
  }
}

TEST(Loader, AStepIsAPureFunctionOfFileSeedAndStep) {
  const TemporaryFolder folder;
  const std::string path = counting_file(folder, 1001);
  const Loader first = loader_of(path, 4, 10), again = loader_of(path, 4, 10), other = loader_of(path, 4, 10, 2);
  const std::vector<int64_t> late = sequences_of(*again.at(1000000007, {10}));
  int same = 0;
  for (const int64_t step : {17, 3, 17, 0}) {
    EXPECT_EQ(sequences_of(*first.at(step, {10})), sequences_of(*again.at(step, {10})));
    same += sequences_of(*first.at(step, {10})) == sequences_of(*other.at(step, {10}));
  }
  EXPECT_EQ(same, 0) << "another seed must give another order";
  EXPECT_EQ(sequences_of(*first.at(1000000007, {10})), late);
}

TEST(Loader, AnyRangeOfASequenceReadsTheSame) {
  const TemporaryFolder folder;
  const std::string path = counting_file(folder, 4 * 64 + 1);
  const auto source = loader_of(path, 1, 64).in_order(3, 1, {64});
  for (const int64_t begin : {0, 1, 31, 63})
    for (int64_t count = 0; count <= 64 - begin; count += 11) {
      std::vector<int32_t> tokens(static_cast<size_t>(count)), targets(tokens.size());
      source->read(0, begin, tokens, targets);
      for (int64_t i = 0; i < count; ++i) {
        ASSERT_EQ(tokens[static_cast<size_t>(i)], 192 + begin + i);
        ASSERT_EQ(targets[static_cast<size_t>(i)], 193 + begin + i);
      }
    }
}

TEST(Loader, InOrderFollowsTheFile) {
  const TemporaryFolder folder;
  const Loader loader = loader_of(counting_file(folder, 100), 2, 9);
  EXPECT_EQ(sequences_of(*loader.in_order(0, loader.sequences(), {9})),
            (std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(sequences_of(*loader.in_order(4, 2, {9})), (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(loader.in_order(11, 0, {9})->sequences(), 0);
  expect_error(ExitCode::Internal, {"sequences 10 to 12"}, [&] { loader.in_order(10, 2, {9}); });
}

TEST(Loader, TheTailIsOneMoreSequenceThatOnlyEvaluationSees) {
  const TemporaryFolder folder;
  const Loader loader = loader_of(counting_file(folder, 100), 2, 9);  // 11 sequences fill 99 positions
  EXPECT_EQ(loader.tail(), 0);
  expect_error(ExitCode::Internal, {"sequences 11 to 12"}, [&] { loader.in_order(11, 1, {9}); });
  const Loader other = loader_of(counting_file(folder, 105), 2, 9);
  ASSERT_EQ(other.sequences(), 11);
  ASSERT_EQ(other.tail(), 5);
  std::vector<int32_t> tokens(5), targets(5);
  other.in_order(11, 1, {5})->read(0, 0, tokens, targets);
  EXPECT_EQ(tokens, (std::vector<int32_t>{99, 100, 101, 102, 103}));
  EXPECT_EQ(targets, (std::vector<int32_t>{100, 101, 102, 103, 104}));
  expect_error(ExitCode::Internal, {"sequences 11 to 12"}, [&] { other.in_order(11, 1, {6}); });
  expect_error(ExitCode::Internal, {"sequences 10 to 12"}, [&] { other.in_order(10, 2, {5}); });
}

TEST(Loader, SaysWhatItUses) {
  const TemporaryFolder folder;
  const std::string path = counting_file(folder, 1105);
  EXPECT_EQ(loader_of(path, 2, 9).description(), path + ": 122 sequences of 9 tokens, 1,098 tokens used and 6 unused");
  EXPECT_EQ(loader_of(path, 2, 1000).description(),
            path + ": 1 sequence of 1000 tokens, 1,000 tokens used and 104 unused");
}

TEST(Loader, TheLastTargetMustExist) {
  const TemporaryFolder folder;
  EXPECT_EQ(loader_of(counting_file(folder, 21), 1, 10).sequences(), 2);
  EXPECT_EQ(loader_of(counting_file(folder, 20), 1, 10).sequences(), 1);
  EXPECT_EQ(loader_of(counting_file(folder, 11), 1, 10).sequences(), 1);
  expect_error(ExitCode::Data, {"10 tokens", "need 11"}, [&] { loader_of(counting_file(folder, 10), 1, 10); });
  expect_error(ExitCode::Data, {"1 tokens"}, [&] { loader_of(counting_file(folder, 1), 1, 10); });
}

TEST(Loader, AVocabularyThatIsTooSmallIsRefusedByTheFilesOwnWord) {
  const TemporaryFolder folder;
  const std::string path = counting_file(folder, 100, 50258);
  try {
    Loader(TokenFile(path), {.batch = 1, .length = 10, .vocab = 50257, .seed = 1});
    FAIL() << "ids up to 50257 were accepted for a vocabulary of 50257";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Data);
    EXPECT_EQ(error.what(), path + " may hold token ids up to 50,257, outside the model's vocabulary (vocab = 50,257)");
    EXPECT_EQ(error.hint(),
              "The file was packed with tokenizer \"counting\" (vocab 50,258). Pack it again for this model, or set "
              "model.vocab = 50258.");
  }
}

TEST(Loader, ATokenOutsideTheVocabularyIsNamedWithItsPosition) {
  const TemporaryFolder folder;
  const std::string path = counting_file(folder, 1300, 1300);
  {  // under a digest that is right
    const Hdf5File layout = Hdf5File::open(path);
    const File file = File::open_write(path);
    std::vector<uint16_t> ids(1300);
    file.read_at(layout.dataset("tokens").offset, std::as_writable_bytes(std::span(ids)));
    ids[1234] = 9999;
    const uint64_t digest = digest_of(std::as_bytes(std::span(ids)));
    file.write_at(layout.dataset("tokens").offset, std::as_bytes(std::span(ids)));
    file.write_at(layout.dataset("digests").offset, std::as_bytes(std::span(&digest, 1)));
  }
  const auto source =
      Loader(TokenFile(path), {.batch = 1, .length = 10, .vocab = 1300, .seed = 1}).in_order(0, 129, {10});
  std::vector<int32_t> tokens(10), targets(10);
  source->read(122, 0, tokens, targets);
  for (const int64_t begin : {0, 4})  // as a target, and as the first token
    expect_error(ExitCode::Data, {"token 9999 at position 1,234 of", path.c_str(), "vocab = 1,300"},
                 [&] { source->read(123, begin, std::span(tokens).first(4), std::span(targets).first(4)); });
}

}  // namespace
}  // namespace memring
