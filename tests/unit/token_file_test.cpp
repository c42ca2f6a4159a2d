// Token files: what is packed is read back, from any place, for every width of ids; damage and strangers are named.
// SPDX-License-Identifier: Apache-2.0
#include "data/token_file.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "base/random.h"
#include "files.h"
#include "io/digest.h"
#include "io/file.h"
#include "io/hdf5.h"

namespace memring {
namespace {

using test::expect_error;
using test::TemporaryFolder;

std::vector<int32_t> some_tokens(int64_t count, int64_t vocab) {
  const Random random(3, Purpose::Test);
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(random.below(static_cast<uint32_t>(i), static_cast<uint64_t>(vocab)));
  return tokens;
}

void write_tokens(const std::string& path, std::span<const int32_t> tokens, int64_t vocab, size_t piece = 1 << 20) {
  TokenFileWriter writer(path, "test", vocab);
  writer.begin_document();
  for (size_t i = 0; i < tokens.size(); i += piece)
    writer.append(tokens.subspan(i, std::min(piece, tokens.size() - i)));
  writer.finish();
}

std::vector<int32_t> read_tokens(const TokenFile& file, int64_t begin, int64_t count) {
  std::vector<int32_t> tokens(static_cast<size_t>(count), -1);
  file.read(begin, tokens);
  return tokens;
}

TEST(TokenFile, EveryWidthAndSizeReadsBackFromAnyPlace) {
  const TemporaryFolder folder;
  constexpr int64_t kBlock = 4 << 20;
  for (const auto& [vocab, width] : {std::pair<int64_t, int64_t>{2, 1}, {256, 1}, {257, 2}, {65536, 2}, {65537, 4}})
    for (const int64_t bytes : {int64_t{4}, int64_t{40000}, kBlock - 4, kBlock, kBlock + 4, 2 * kBlock + 1000}) {
      SCOPED_TRACE(fmt::format("vocab {}, {} bytes of tokens", vocab, bytes));
      const int64_t count = bytes / width;
      const std::vector<int32_t> tokens = some_tokens(count, vocab);
      write_tokens(folder / "a.h5", tokens, vocab, 99991);
      const TokenFile file(folder / "a.h5");
      EXPECT_EQ(file.tokens(), count);
      EXPECT_EQ(file.vocab(), vocab);
      EXPECT_EQ(file.tokenizer(), "test");
      ASSERT_TRUE(read_tokens(file, 0, count) == tokens);
      ASSERT_EQ(read_tokens(file, count - 1, 1)[0], tokens.back());
      ASSERT_EQ(read_tokens(file, count / 2, 1)[0], tokens[static_cast<size_t>(count / 2)]);
      EXPECT_TRUE(read_tokens(file, count, 0).empty());
      EXPECT_TRUE(file.verify().empty());
      // Nothing but the file itself is left, and HDF5 sees the same tokens.
      EXPECT_EQ(folder.entries(), 1u);
      const std::vector<int64_t> wide = Hdf5File::open(folder / "a.h5").read<int64_t>("tokens");
      EXPECT_TRUE(std::equal(wide.begin(), wide.end(), tokens.begin(), tokens.end()));
    }
}

TEST(TokenFile, DocumentBordersAreFirstTokensAndTheEnd) {
  const TemporaryFolder folder;
  {
    TokenFileWriter writer(folder / "a.h5", "test", 10);
    const std::vector<int32_t> tokens{1, 2, 3};
    writer.begin_document();
    writer.append(tokens);
    writer.begin_document();  // an empty document
    writer.begin_document();
    writer.append(tokens);
    writer.append(tokens);
    writer.finish();
  }
  EXPECT_EQ(TokenFile(folder / "a.h5").documents(), 3);
  EXPECT_EQ(Hdf5File::open(folder / "a.h5").read<int64_t>("documents"), (std::vector<int64_t>{0, 3, 3, 9}));
}

TEST(TokenFile, TheSameInputGivesTheSameBytesHoweverItComes) {
  const TemporaryFolder folder;
  const std::vector<int32_t> tokens = some_tokens((4 << 20) + 777, 256);
  write_tokens(folder / "a.h5", tokens, 256);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5's times count seconds
  write_tokens(folder / "b.h5", tokens, 256, 12345);
  EXPECT_TRUE(test::content_of(folder / "a.h5") == test::content_of(folder / "b.h5"));
  EXPECT_EQ(TokenFile(folder / "a.h5").digest(), TokenFile(folder / "b.h5").digest());
  std::vector<int32_t> other = tokens;
  other[5] ^= 1;
  write_tokens(folder / "b.h5", other, 256);
  EXPECT_NE(TokenFile(folder / "a.h5").digest(), TokenFile(folder / "b.h5").digest());
}

TEST(TokenFile, AnUnfinishedFileLeavesNothingAndTheOldOneStays) {
  const TemporaryFolder folder;
  const std::vector<int32_t> tokens{1, 2, 3};
  write_tokens(folder / "a.h5", tokens, 10);
  const std::string before = test::content_of(folder / "a.h5");
  {
    TokenFileWriter writer(folder / "a.h5", "test", 10);
    writer.begin_document();
    writer.append(tokens);
    EXPECT_EQ(folder.entries(), 2u);
  }
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_EQ(test::content_of(folder / "a.h5"), before);
}

TEST(TokenFile, WriterRefusesWhatCannotBecomeAFile) {
  const TemporaryFolder folder;
  expect_error(ExitCode::Io, {"nowhere", "no folder"}, [&] { TokenFileWriter(folder / "nowhere/a.h5", "test", 10); });
  expect_error(ExitCode::Io, {"is a folder"}, [&] { TokenFileWriter(folder.path(), "test", 10); });
  TokenFileWriter writer(folder / "a.h5", "test", 10);
  const std::vector<int32_t> good{9}, high{10}, low{-1};
  expect_error(ExitCode::Internal, {"before the first document"}, [&] { writer.append(good); });
  writer.begin_document();
  expect_error(ExitCode::Internal, {"token 10", "10"}, [&] { writer.append(high); });
  expect_error(ExitCode::Internal, {"token -1"}, [&] { writer.append(low); });
  expect_error(ExitCode::Data, {"empty"}, [&] { writer.finish(); });
}

// A limit on the size of files stands for a full disk.
TEST(TokenFile, ADiskThatIsFullIsAnErrorAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::vector<int32_t> tokens = some_tokens(9 << 20, 256);
  struct rlimit before {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit small = before;
  small.rlim_cur = 6 << 20;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  expect_error(ExitCode::Io, {"a.h5.tmp", "File too large"}, [&] { write_tokens(folder / "a.h5", tokens, 256); });
  std::signal(SIGXFSZ, old);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(TokenFile, AChangedByteIsFoundByItsDigest) {
  const TemporaryFolder folder;
  const std::vector<int32_t> tokens = some_tokens((9 << 20) + 5, 256);
  write_tokens(folder / "a.h5", tokens, 256);
  const Hdf5File layout = Hdf5File::open(folder / "a.h5");
  const int64_t tokens_at = layout.dataset("tokens").offset, documents_at = layout.dataset("documents").offset;
  auto flip = [&](int64_t position) {
    const File file = File::open_write(folder / "a.h5");
    std::byte byte;
    file.read_at(position, {&byte, 1});
    byte ^= std::byte{1};
    file.write_at(position, {&byte, 1});
  };
  for (const int64_t where : {int64_t{0}, int64_t{4} << 20, (int64_t{9} << 20) + 4}) {
    flip(tokens_at + where);
    const std::vector<std::string> faults = TokenFile(folder / "a.h5").verify();
    ASSERT_EQ(faults.size(), 1u) << "byte " << where;
    EXPECT_NE(faults[0].find("/tokens, bytes"), std::string::npos) << faults[0];
    // Reading refuses the damaged block, however little of it is wanted, and gives the others.
    const TokenFile damaged(folder / "a.h5");
    for (const int64_t begin : {int64_t{100}, (int64_t{4} << 20) + 100, (int64_t{8} << 20) + 100}) {
      if (begin >> 22 == where >> 22)
        expect_error(ExitCode::Data, {"a.h5 is damaged", "/tokens, bytes"}, [&] { read_tokens(damaged, begin, 1); });
      else
        EXPECT_EQ(read_tokens(damaged, begin, 1)[0], tokens[static_cast<size_t>(begin)]);
    }
    flip(tokens_at + where);
  }
  EXPECT_TRUE(TokenFile(folder / "a.h5").verify().empty());
  flip(documents_at + 8);
  const std::vector<std::string> faults = TokenFile(folder / "a.h5").verify();
  ASSERT_EQ(faults.size(), 2u);
  EXPECT_NE(faults[0].find("/documents: digest"), std::string::npos) << faults[0];
  EXPECT_NE(faults[1].find("/documents: borders"), std::string::npos) << faults[1];
}

/// The content of one file into the other, as `cp` does it: in place.
void copy_over(const std::string& from, const std::string& to) {
  std::ofstream(to, std::ios::binary | std::ios::trunc) << test::content_of(from);
}

class RewrittenTokenFile : public testing::Test {
 protected:
  RewrittenTokenFile() {
    tokens_ = some_tokens((5 << 20) + 5, 256);
    write_tokens(path_, tokens_, 256);
    std::vector<int32_t> changed = tokens_;
    changed[100] ^= 1;  // of block 0
    write_tokens(other_, changed, 256);
  }
  TemporaryFolder folder_;
  std::string path_ = folder_ / "a.h5", other_ = folder_ / "b.h5";
  std::vector<int32_t> tokens_;
  int calls_ = 0;
  std::function<void()> progress_ = [this] { ++calls_; };
};

TEST_F(RewrittenTokenFile, IsNoticedAtTheNextReadAndAtTheNextSave) {
  for (const bool reads : {true, false}) {
    const TokenFile file(path_);
    read_tokens(file, 0, 10);
    read_tokens(file, 5 << 20, 3);
    EXPECT_NO_THROW(file.expect_unchanged(progress_));
    copy_over(other_, path_);
    EXPECT_NO_THROW(read_tokens(file, 5 << 20, 3)) << "this block is as it was";
    expect_error(ExitCode::Data, {path_.c_str(), "rewritten while it was in use", "bytes 0 to 4,194,304"}, [&] {
      if (reads)
        read_tokens(file, 50, 1);
      else
        file.expect_unchanged(progress_);
    });
    write_tokens(path_, tokens_, 256);
  }
}

TEST_F(RewrittenTokenFile, IsNoticedWhereItHasBecomeShorterOrTheTimeOfTheWriteIsSetBack) {
  const auto written = std::filesystem::last_write_time(path_);
  for (const bool shorter : {true, false}) {
    const TokenFile file(path_);
    read_tokens(file, 0, 10);
    copy_over(other_, path_);
    if (shorter) std::filesystem::resize_file(path_, 1 << 20);
    std::filesystem::last_write_time(path_, written);
    expect_error(ExitCode::Data, {"rewritten while it was in use"}, [&] { file.expect_unchanged(progress_); });
    write_tokens(path_, tokens_, 256);
  }
}

TEST_F(RewrittenTokenFile, MayBeTouchedCopiedOverItselfReplacedAndRemoved) {
  const TokenFile file(path_);
  read_tokens(file, 0, 10);
  read_tokens(file, 5 << 20, 3);
  std::filesystem::last_write_time(path_, std::filesystem::file_time_type::clock::now());
  calls_ = 0;
  EXPECT_NO_THROW(file.expect_unchanged(progress_));
  EXPECT_EQ(calls_, 2) << "the two blocks that were read are read again, and no other";
  const std::string copy = folder_ / "copy.h5";
  std::filesystem::copy_file(path_, copy);
  copy_over(copy, path_);
  EXPECT_NO_THROW(file.expect_unchanged(progress_));
  std::filesystem::rename(other_, path_);
  EXPECT_EQ(read_tokens(file, 100, 1)[0], tokens_[100]) << "the file that was opened is the one that is read";
  EXPECT_NO_THROW(file.expect_unchanged(progress_));
  std::filesystem::remove(path_);
  EXPECT_EQ(read_tokens(file, 5 << 20, 1)[0], tokens_[5 << 20]);
  EXPECT_NO_THROW(file.expect_unchanged(progress_));
}

TEST(TokenFile, AShortFileIsRefusedWhereverItIsCut) {
  const TemporaryFolder folder;
  const std::vector<int32_t> tokens = some_tokens(5 << 20, 256);
  write_tokens(folder / "whole.h5", tokens, 256);
  const auto size = static_cast<int64_t>(std::filesystem::file_size(folder / "whole.h5"));
  for (const int64_t left : {int64_t{0}, int64_t{100}, int64_t{2000}, int64_t{1} << 20, size / 2, size - 1}) {
    SCOPED_TRACE(left);
    std::filesystem::copy_file(folder / "whole.h5", folder / "cut.h5",
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder / "cut.h5", static_cast<uintmax_t>(left));
    expect_error(ExitCode::Data, {"cut.h5"}, [&] { TokenFile(folder / "cut.h5"); });
  }
  // Cut while it is open: the read says so.
  const TokenFile open(folder / "whole.h5");
  std::filesystem::resize_file(folder / "whole.h5", static_cast<uintmax_t>(size / 2));
  expect_error(ExitCode::Data, {"whole.h5", "ends at byte"}, [&] { read_tokens(open, open.tokens() - 10, 10); });
}

// The number of tokens stands in HDF5's own structure, which no digest covers.
TEST(TokenFile, AnExtentBeyondTheFileIsRefused) {
  const TemporaryFolder folder;
  constexpr int64_t kTokens = 1234567;
  write_tokens(folder / "a.h5", some_tokens(kTokens, 256), 256);
  std::string bytes = test::content_of(folder / "a.h5");
  const std::string_view extent(reinterpret_cast<const char*>(&kTokens), sizeof kTokens);
  ASSERT_NE(bytes.find(extent), std::string::npos);
  for (const int64_t damaged : {int64_t{1} << 21, int64_t{1} << 62, int64_t{-1}}) {
    std::string copy = bytes;
    for (size_t at = copy.find(extent); at != std::string::npos; at = copy.find(extent))
      copy.replace(at, sizeof damaged, reinterpret_cast<const char*>(&damaged), sizeof damaged);
    test::put_content(folder / "b.h5", copy);
    expect_error(ExitCode::Data, {"b.h5"}, [&] { TokenFile(folder / "b.h5"); });
  }
}

/// A small token file with one part spoilt.
void write_spoilt(const std::string& path, const std::string& spoilt) {
  Hdf5Writer file = Hdf5Writer::create(path);
  if (spoilt != "no format")
    file.write_attribute("format", std::string(spoilt == "newer"     ? "memring-tokens-2"
                                               : spoilt == "fixture" ? "memring-fixture-1"
                                                                     : "memring-tokens-1"));
  file.write_attribute("tokenizer", std::string("test"));
  if (spoilt != "vocab") file.write_attribute("vocab", int64_t{spoilt == "vocab 0" ? 0 : 256});
  file.write_attribute("digest_block", int64_t{spoilt == "block" ? 1000 : 4 << 20});
  file.write_attribute("documents_digest", std::string("0000000000000000"));
  const Shape tokens = spoilt == "zero tokens" ? Shape{0} : spoilt == "two extents" ? Shape{3, 4} : Shape{12};
  if (spoilt != "tokens") file.create_dataset("tokens", spoilt == "tokens type" ? Hdf5Type::F64 : Hdf5Type::U8, tokens);
  if (spoilt != "documents")
    file.create_dataset("documents", spoilt == "documents type" ? Hdf5Type::I32 : Hdf5Type::I64,
                        {spoilt == "one border" ? 1 : 2});
  if (spoilt != "digests") file.create_dataset("digests", Hdf5Type::U64, {spoilt == "digest count" ? 2 : 1});
  file.close();
}

TEST(TokenFile, APartThatIsMissingOrWrongIsNamed) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  auto expect_bad = [&](const std::string& spoilt, std::initializer_list<const char*> parts) {
    SCOPED_TRACE(spoilt);
    write_spoilt(path, spoilt);
    expect_error(ExitCode::Data, parts, [&] { TokenFile file(path); });
  };
  write_spoilt(path, "");
  EXPECT_EQ(TokenFile(path).tokens(), 12) << "the sample itself must be good";
  expect_bad("no format", {"a.h5", "'format'"});
  expect_bad("newer", {"a.h5", "memring-tokens-2", "memring-tokens-1"});
  expect_bad("fixture", {"memring-fixture-1"});
  expect_bad("vocab", {"'vocab'", "missing"});
  expect_bad("vocab 0", {"'vocab' is 0"});
  expect_bad("block", {"1000 bytes"});
  expect_bad("tokens", {"/tokens is missing"});
  expect_bad("zero tokens", {"/tokens is empty"});
  expect_bad("two extents", {"/tokens is uint8 [3, 4]"});
  expect_bad("tokens type", {"/tokens is float64 [12]", "uint8"});
  expect_bad("documents", {"/documents is missing"});
  expect_bad("documents type", {"/documents is int32"});
  expect_bad("one border", {"1 document borders"});
  expect_bad("digests", {"/digests is missing"});
  expect_bad("digest count", {"2 digests"});
  expect_error(ExitCode::Data, {"does not exist"}, [&] { TokenFile(folder / "none.h5"); });
  expect_error(ExitCode::Data, {"is a folder"}, [&] { TokenFile(folder.path()); });
  test::put_content(path, "plain text");
  expect_error(ExitCode::Data, {"not an HDF5 file"}, [&] { TokenFile file(path); });
}

// The file is sparse: it takes no space on disk.
TEST(TokenFile, AFileOf100GBOpensAtOnce) {
  const TemporaryFolder folder;
  constexpr int64_t kTokens = 100'000'000'000, kBlocks = (kTokens + (4 << 20) - 1) / (4 << 20);
  {
    Hdf5Writer file = Hdf5Writer::create(folder / "a.h5");
    file.write_attribute("format", std::string("memring-tokens-1"));
    file.write_attribute("tokenizer", std::string("bytes"));
    file.write_attribute("vocab", int64_t{256});
    file.write_attribute("digest_block", int64_t{4 << 20});
    file.write_attribute("documents_digest", std::string("0000000000000000"));
    file.create_dataset("tokens", Hdf5Type::U8, {kTokens});
    file.create_dataset("documents", Hdf5Type::I64, {2});
    file.create_dataset("digests", Hdf5Type::U64, {kBlocks});
    file.close();
    const Hdf5File layout = Hdf5File::open(folder / "a.h5");
    const File raw = File::open_write(folder / "a.h5");
    std::vector<uint8_t> block(kTokens - (kBlocks - 1) * (4 << 20));
    block[block.size() - 2] = 7, block[block.size() - 1] = 8;
    const uint64_t digest = digest_of(std::as_bytes(std::span(block)));
    const int64_t end = layout.dataset("tokens").offset + kTokens;
    raw.write_at(end - 2, std::as_bytes(std::span(block).last(2)));
    raw.write_at(layout.dataset("digests").offset + 8 * (kBlocks - 1), std::as_bytes(std::span(&digest, 1)));
  }
  const auto start = std::chrono::steady_clock::now();
  const TokenFile file(folder / "a.h5");
  EXPECT_EQ(file.tokens(), kTokens);
  EXPECT_EQ(read_tokens(file, kTokens - 3, 3), (std::vector<int32_t>{0, 7, 8}));
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 2);
}

TEST(TokenFile, SeveralThreadsMayReadAtOnce) {
  const TemporaryFolder folder;
  const std::vector<int32_t> tokens = some_tokens(300000, 60000);
  write_tokens(folder / "a.h5", tokens, 60000);
  const TokenFile file(folder / "a.h5");
  std::vector<std::thread> readers;
  std::vector<int> wrong(4);
  for (size_t t = 0; t < wrong.size(); ++t)
    readers.emplace_back([&, t] {
      for (int64_t i = 0; i < 200; ++i) {
        const int64_t begin = (i * 7919 + static_cast<int64_t>(t) * 31) % 200000;
        const std::vector<int32_t> found = read_tokens(file, begin, 50000);
        wrong[t] += !std::equal(found.begin(), found.end(), tokens.begin() + begin);
      }
    });
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

}  // namespace
}  // namespace memring
