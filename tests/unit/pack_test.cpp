// Packing: folders, files and standard input in a reproducible order, byte for byte; what cannot be packed is named.
// SPDX-License-Identifier: Apache-2.0
#include "data/pack.h"
#include "base/error.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "data/token_file.h"
#include "data/tokenizer.h"
#include "files.h"
#include "io/hdf5.h"

namespace memring {
namespace {

using test::expect_error;
using test::put_content;
using test::TemporaryFolder;

PackResult pack_all(std::vector<std::string> inputs, const std::string& out) {
  return pack(inputs, out, "bytes", [](const PackProgress&) {});
}

std::string text_of(const std::string& path) {
  const TokenFile file(path);
  std::vector<int32_t> tokens(static_cast<size_t>(file.tokens()));
  file.read(0, tokens);
  return {tokens.begin(), tokens.end()};
}

/// Standard input reads this file until the scope ends.
class StandardInput {
 public:
  explicit StandardInput(int descriptor) : saved_(::dup(0)) {
    ::dup2(descriptor, 0);
    ::close(descriptor);
  }
  ~StandardInput() {
    ::dup2(saved_, 0);
    ::close(saved_);
  }

 private:
  int saved_;
};

TEST(Tokenizer, BytesAreTheirOwnIds) {
  const auto tokenizer = make_tokenizer("bytes");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  std::vector<int32_t> ids;
  tokenizer->encode(all, true, ids);
  ASSERT_EQ(ids.size(), 256u);
  for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(ids[static_cast<size_t>(byte)], byte);
  EXPECT_EQ(tokenizer->vocab(), 256);
  expect_error(ExitCode::Usage, {"\"word\""}, [] { make_tokenizer("word"); });
}

TEST(Pack, FoldersAreTakenWholeInOrderOfTheirPathsAndInputsInTheirOwn) {
  const TemporaryFolder folder;
  const std::string in = folder / "in", out = folder / "out.h5";
  put_content(in + "/b.txt", "bb");
  put_content(in + "/a/z.txt", "az");
  put_content(in + "/a.txt", "a");  // '.' < '/': before a/z.txt
  put_content(in + "/B", "B");
  put_content(in + "/\xc3\xa9", "e");  // bytes above 127 come last
  put_content(in + "/empty", "");
  put_content(in + "/binary", std::string("\0\xff\x80", 3));
  put_content(folder / "extra", "extra");
  const PackResult result = pack_all({folder / "extra", in}, out);
  EXPECT_EQ(text_of(out), std::string("extraBaazbb\0\xff\x80"
                                      "e",
                                      15));
  EXPECT_EQ(result.documents, 8);
  EXPECT_EQ(result.tokens, 15);
  EXPECT_EQ(result.bytes, 15);
  EXPECT_FALSE(result.replaced);
  EXPECT_TRUE(result.skipped.empty());
  EXPECT_EQ(Hdf5File::open(out).read<int64_t>("documents"), (std::vector<int64_t>{0, 5, 6, 7, 9, 11, 14, 14, 15}));
  EXPECT_TRUE(pack_all({folder / "extra", in}, out).replaced);
}

TEST(Pack, TheSameInputGivesTheSameFile) {
  const TemporaryFolder folder;
  put_content(folder / "in/a", std::string(3000000, 'x') + "end");
  put_content(folder / "in/b", std::string(1 << 20, 'y'));  // exactly one piece
  const PackResult first = pack_all({folder / "in"}, folder / "1.h5"),
                   second = pack_all({folder / "in"}, folder / "2.h5");
  EXPECT_EQ(first.digest, second.digest);
  EXPECT_TRUE(test::content_of(folder / "1.h5") == test::content_of(folder / "2.h5"));
  EXPECT_EQ(text_of(folder / "1.h5"), test::content_of(folder / "in/a") + test::content_of(folder / "in/b"));
}

TEST(Pack, StandardInputIsOneDocument) {
  const TemporaryFolder folder;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const std::string text = std::string(5 << 20, 'p') + "tail";
  std::thread writer([&] {
    for (size_t done = 0; done < text.size();)
      done += static_cast<size_t>(::write(ends[1], text.data() + done, text.size() - done));
    ::close(ends[1]);
  });
  {
    const StandardInput input(ends[0]);
    int64_t total = 0;
    const std::vector<std::string> inputs{"-"};
    const PackResult result =
        pack(inputs, folder / "a.h5", "bytes", [&](const PackProgress& now) { total = now.total; });
    EXPECT_EQ(result.documents, 1);
    EXPECT_EQ(total, -1) << "the size of standard input is not known";
  }
  writer.join();
  EXPECT_TRUE(text_of(folder / "a.h5") == text);
}

TEST(Pack, WhatIsNoDocumentIsSkippedAndListed) {
  const TemporaryFolder folder;
  const std::string in = folder / "in";
  put_content(in + "/a", "a");
  put_content(folder / "elsewhere/b", "b");
  std::filesystem::create_symlink(folder / "elsewhere/b", in + "/link");
  std::filesystem::create_symlink(folder / "elsewhere", in + "/folder");
  std::filesystem::create_symlink(folder / "nowhere", in + "/dangling");
  ASSERT_EQ(::mkfifo((in + "/fifo").c_str(), 0600), 0);
  put_content(in + "/out.h5", "an older output");
  const PackResult result = pack_all({in}, in + "/out.h5");
  EXPECT_EQ(text_of(in + "/out.h5"), "ab");
  EXPECT_EQ(result.skipped,
            (std::vector<std::string>{in + "/dangling (a link to nothing)", in + "/fifo (not a regular file)",
                                      in + "/folder (a link to a folder)", in + "/out.h5 (the output)"}));
}

TEST(Pack, WhatIsNoTextIsSkippedInFoldersAndRefusedByName) {
  const TemporaryFolder folder;
  const std::string in = folder / "in";
  put_content(in + "/a", "a");
  put_content(in + "/BZh", "BZh is how this text begins");
  put_content(in + "/.git/config", "not read");
  put_content(in + "/below/.git", "gitdir: not read either");
  put_content(in + "/below/.gitignore", "text");
  const std::vector<std::pair<std::string, std::string>> others = {{"/a.h5", std::string("\x89HDF\r\n\x1a\n") + "..."},
                                                                   {"/a.gz", "\x1f\x8b..."},
                                                                   {"/a.zst", "\x28\xb5\x2f\xfd..."},
                                                                   {"/a.xz", std::string("\xfd\x37zXZ\0...", 9)},
                                                                   {"/a.bz2", "BZh31AY&SY..."},
                                                                   {"/a.zip", "PK\x03\x04..."},
                                                                   {"/a~", "a"},
                                                                   {"/.a.swp", "a"},
                                                                   {"/#a#", "a"}};
  for (const auto& [name, content] : others) put_content(in + name, content);
  const PackResult result = pack_all({in}, folder / "out.h5");
  EXPECT_EQ(text_of(folder / "out.h5"), "BZh is how this text beginsatext");
  EXPECT_EQ(result.skipped,
            (std::vector<std::string>{
                in + "/#a# (an editor's backup)", in + "/.a.swp (an editor's backup)", in + "/.git (version control)",
                in + "/a.bz2 (compressed (bzip2))", in + "/a.gz (compressed (gzip))", in + "/a.h5 (HDF5)",
                in + "/a.xz (compressed (xz))", in + "/a.zip (an archive (zip))", in + "/a.zst (compressed (zstd))",
                in + "/a~ (an editor's backup)", in + "/below/.git (version control)"}));
  for (const auto& other : others)
    expect_error(ExitCode::Data, {other.first.c_str()}, [&] { pack_all({in + other.first}, folder / "x.h5"); });
  expect_error(ExitCode::Data, {".git", "version control"}, [&] { pack_all({in + "/.git/"}, folder / "x.h5"); });

  int ends[2];  // and where it comes through a pipe
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "\x1f\x8b...", 5), 5);
  ::close(ends[1]);
  const StandardInput input(ends[0]);
  expect_error(ExitCode::Data, {"standard input is compressed (gzip)"}, [&] { pack_all({"-"}, folder / "x.h5"); });
  EXPECT_FALSE(std::filesystem::exists(folder / "x.h5"));
}

TEST(Pack, AFileThatComesTwiceIsTold) {
  const TemporaryFolder folder;
  const std::string in = folder / "in", a = in + "/a", link = in + "/link", hard = folder / "hard";
  put_content(a, "a");
  put_content(in + "/b", "b");
  std::filesystem::create_symlink(a, link);
  std::filesystem::create_hard_link(in + "/b", hard);
  const PackResult result = pack_all({a, in, hard, in + "/../in/a"}, folder / "out.h5");
  EXPECT_EQ(text_of(folder / "out.h5"), "aababa") << "it is packed as often as it is given";
  EXPECT_EQ(
      result.repeated,
      (std::vector<std::string>{a + " is given more than once", link + " is the same file as " + a,
                                hard + " is the same file as " + in + "/b", in + "/../in/a is the same file as " + a}));
  EXPECT_TRUE(pack_all({in + "/b", a}, folder / "out.h5").repeated.empty());
}

TEST(Pack, ProgressCountsUpToTheTotal) {
  const TemporaryFolder folder;
  put_content(folder / "in/a", std::string(2500000, 'x'));
  put_content(folder / "in/b", "y");
  std::vector<PackProgress> calls;
  const std::vector<std::string> inputs{folder / "in"};
  pack(inputs, folder / "a.h5", "bytes", [&](const PackProgress& now) { calls.push_back(now); });
  ASSERT_EQ(calls.size(), 4u);
  for (size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(calls[i].total, 2500001);
    EXPECT_GT(calls[i].bytes, i > 0 ? calls[i - 1].bytes : 0);
  }
  EXPECT_EQ(calls.back().bytes, 2500001);
  EXPECT_EQ(calls.back().documents, 2);
}

TEST(Pack, WhatAKilledPackHasLeftIsCleared) {
  const TemporaryFolder folder;
  put_content(folder / "text", "text");
  const std::string out = folder / "out.h5";
  std::string left;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const TokenFileWriter writer(out, "bytes", 256);
    ::raise(SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  for (const auto& entry : std::filesystem::directory_iterator(folder / "."))
    if (entry.path().string().find(".tmp-") != std::string::npos) left = entry.path().string();
  ASSERT_NE(left, "") << "the killed process left nothing to clear";
  // Of a process that lives, of another host, and of another output.
  const std::string mark = left.substr(left.find(std::to_string(child)) + std::to_string(child).size());
  const std::vector<std::string> others = {fmt::format("{}.tmp-{}{}", out, ::getppid(), mark),
                                           fmt::format("{}.tmp-{}-elsewhere{}", out, child, mark),
                                           fmt::format("{}.tmp-{}{}", folder / "other.h5", child, mark)};
  for (const std::string& other : others) put_content(other, "x");
  pack_all({folder / "text"}, out);
  EXPECT_FALSE(std::filesystem::exists(left));
  for (const std::string& other : others) EXPECT_TRUE(std::filesystem::exists(other)) << other;
}

TEST(Pack, WhatCannotBePackedIsNamedAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::string out = folder / "out/a.h5";
  std::filesystem::create_directory(folder / "out");
  put_content(folder / "in/empty", "");
  put_content(folder / "in/text", "text");
  std::filesystem::create_directory(folder / "none");
  expect_error(ExitCode::Data, {"missing.txt", "does not exist"}, [&] { pack_all({folder / "missing.txt"}, out); });
  expect_error(ExitCode::Data, {"a.h5", "empty"}, [&] { pack_all({folder / "in/empty"}, out); });
  expect_error(ExitCode::Data, {"a.h5", "empty"}, [&] { pack_all({folder / "none"}, out); });
  expect_error(ExitCode::Io, {"nowhere", "no folder"}, [&] { pack_all({folder / "in"}, folder / "nowhere/a.h5"); });
  expect_error(ExitCode::Io, {"is a folder"}, [&] { pack_all({folder / "in"}, folder / "none"); });
  expect_error(ExitCode::Usage, {"both input and output"}, [&] { pack_all({folder / "in/text"}, folder / "in/text"); });
  expect_error(ExitCode::Usage, {"more than once"}, [&] { pack_all({"-", "-"}, out); });
  const std::vector<std::string> inputs{folder / "in"};
  expect_error(ExitCode::Usage, {"tokenizer"}, [&] { pack(inputs, out, "gpt2", [](const PackProgress&) {}); });
  EXPECT_TRUE(std::filesystem::is_empty(folder / "out"));
  if (::geteuid() != 0) {
    ::chmod((folder / "in/text").c_str(), 0);
    expect_error(ExitCode::Io, {"in/text", "Permission denied"}, [&] { pack_all({folder / "in"}, out); });
  }
}

}  // namespace
}  // namespace memring
