// The HDF5 container: what is written is found again, by HDF5 and by position; damage is named.
// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5.h"
#include "base/error.h"

#include <sys/stat.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "files.h"
#include "io/digest.h"
#include "io/file.h"

namespace memring {
namespace {

using test::expect_error;
using test::TemporaryFolder;

void write_sample(const std::string& path) {
  Hdf5Writer file = Hdf5Writer::create(path);
  file.write_attribute("text", std::string("größe = 1\n"));
  file.write_attribute("integer", int64_t{-5000000000});
  file.create_group("empty");
  file.write_attribute("number", 0.1, "empty");
  const std::vector<float> floats{1, 2.5f, -3, 4, 5, 6};
  file.write(file.create_dataset("b/x/weight", Hdf5Type::F32, {2, 3}), std::as_bytes(std::span(floats)));
  const std::vector<int32_t> integers{7, -8};
  file.write(file.create_dataset("b/a", Hdf5Type::I32, {2}), std::as_bytes(std::span(integers)));
  const double scalar = 1.0 / 3;
  file.write(file.create_dataset("loss", Hdf5Type::F64, {}), std::as_bytes(std::span(&scalar, 1)));
  file.create_dataset("nothing", Hdf5Type::F64, {0, 4});
  file.close();
}

TEST(Hdf5, ReadsBackWhatWasWritten) {
  const TemporaryFolder folder;
  write_sample(folder / "a.h5");
  const Hdf5File file = Hdf5File::open(folder / "a.h5");
  EXPECT_EQ(file.text_attribute("text"), "größe = 1\n");
  EXPECT_EQ(file.integer_attribute("integer"), -5000000000);
  EXPECT_EQ(file.number_attribute("number", "empty"), 0.1);
  EXPECT_EQ(file.number_attribute("integer"), -5000000000.0);
  EXPECT_EQ(file.read<double>("b/x/weight"), (std::vector<double>{1, 2.5, -3, 4, 5, 6}));
  EXPECT_EQ(file.dataset("b/x/weight").shape, (Shape{2, 3}));
  EXPECT_EQ(file.read<int32_t>("b/a"), (std::vector<int32_t>{7, -8}));
  EXPECT_EQ(file.read<int64_t>("b/a"), (std::vector<int64_t>{7, -8}));
  EXPECT_EQ(file.read<double>("loss"), std::vector<double>{1.0 / 3});
  EXPECT_EQ(file.dataset("loss").shape.rank(), 0);
  EXPECT_TRUE(file.read<double>("nothing").empty());
  EXPECT_TRUE(file.has("b/x") && file.has("empty") && !file.has("b/y") && !file.has("y/y/y"));
  EXPECT_TRUE(file.has_attribute("text") && !file.has_attribute("texts") && !file.has_attribute("text", "nowhere"));
}

TEST(Hdf5, ListsDatasetsOfAllGroupsByName) {
  const TemporaryFolder folder;
  write_sample(folder / "a.h5");
  const Hdf5File file = Hdf5File::open(folder / "a.h5");
  auto names = [&](const std::string& group) {
    std::string text;
    for (const Hdf5Dataset& dataset : file.list(group)) text += dataset.name + " ";
    return text;
  };
  EXPECT_EQ(names("/"), "b/a b/x/weight loss nothing ");
  EXPECT_EQ(names("b"), "b/a b/x/weight ");
  EXPECT_EQ(names("empty"), "");
  EXPECT_EQ(file.groups(), (std::vector<std::string>{"b", "empty"}));
  EXPECT_EQ(file.groups("b"), std::vector<std::string>{"b/x"});
  expect_error(ExitCode::Data, {"group c is missing"}, [&] { file.groups("c"); });
}

TEST(Hdf5, DatasetsLieAlignedAtTheirOffsetAndMayBeWrittenByPosition) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  Hdf5Writer file = Hdf5Writer::create(path, 4096);
  std::vector<Hdf5Dataset> laid;
  for (int i = 0; i < 3; ++i)
    laid.push_back(file.create_dataset(fmt::format("params/{}", i), Hdf5Type::I64, {1000 + i}));
  file.close();
  File raw = File::open_write(path);
  std::vector<int64_t> values(1001);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int64_t>(i * i);
  raw.write_at(laid[1].offset, std::as_bytes(std::span(values)));
  raw.sync();
  raw.close();
  const Hdf5File again = Hdf5File::open(path);
  for (const Hdf5Dataset& dataset : laid) {
    EXPECT_EQ(dataset.offset % 4096, 0) << dataset.name;
    EXPECT_EQ(again.dataset(dataset.name).offset, dataset.offset);
  }
  EXPECT_EQ(again.read<int64_t>("params/1"), values);
  EXPECT_EQ(again.read<int64_t>("params/2"), std::vector<int64_t>(1002)) << "what was never written must read as zeros";
}

TEST(Hdf5, TheSameContentGivesTheSameBytesLater) {
  const TemporaryFolder folder;
  write_sample(folder / "a.h5");
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5's times count seconds
  write_sample(folder / "b.h5");
  EXPECT_EQ(test::content_of(folder / "a.h5"), test::content_of(folder / "b.h5"));
}

TEST(Hdf5, OpeningSaysWhatIsWrongWithTheFile) {
  const TemporaryFolder folder;
  auto open = [&](const std::string& name) { return [path = folder / name] { Hdf5File::open(path, "token file"); }; };
  expect_error(ExitCode::Data, {"token file", "missing.h5", "does not exist"}, open("missing.h5"));
  expect_error(ExitCode::Data, {"is a folder"}, open("."));
  test::put_content(folder / "text.h5", "not HDF5 at all");
  expect_error(ExitCode::Data, {"text.h5", "is not an HDF5 file"}, open("text.h5"));
  test::put_content(folder / "empty.h5", "");
  expect_error(ExitCode::Data, {"is not an HDF5 file"}, open("empty.h5"));
  write_sample(folder / "a.h5");
  std::filesystem::resize_file(folder / "a.h5", 3000);
  expect_error(ExitCode::Data, {"a.h5", "cannot be read", "truncated"}, open("a.h5"));
  test::put_content(folder / "locked.h5", "x");
  ::chmod((folder / "locked.h5").c_str(), 0);
  if (::geteuid() != 0) expect_error(ExitCode::Io, {"locked.h5", "Permission denied"}, open("locked.h5"));
}

TEST(Hdf5, ReadingSaysWhatIsMissingOrOfAnotherType) {
  const TemporaryFolder folder;
  write_sample(folder / "a.h5");
  const Hdf5File file = Hdf5File::open(folder / "a.h5");
  expect_error(ExitCode::Data, {"a.h5", "/b/c is missing"}, [&] { file.read<double>("b/c"); });
  expect_error(ExitCode::Data, {"/b/x is not a dataset"}, [&] { file.read<double>("b/x"); });
  expect_error(ExitCode::Data, {"/b/a is int32 [2]", "float64 was expected"}, [&] { file.read<double>("b/a"); });
  expect_error(ExitCode::Data, {"/loss is float64 []", "int32"}, [&] { file.read<int32_t>("loss"); });
  expect_error(ExitCode::Data, {"attribute 'texts'", "missing"}, [&] { file.text_attribute("texts"); });
  expect_error(ExitCode::Data, {"attribute 'integer'", "not a text"}, [&] { file.text_attribute("integer"); });
  expect_error(ExitCode::Data, {"attribute 'text'", "not an integer"}, [&] { file.integer_attribute("text"); });
  expect_error(ExitCode::Data, {"attribute 'text'", "not a number"}, [&] { file.number_attribute("text"); });
}

// By h5py: texts of fixed and of any length, numbers in the other byte order, compressed pieces, links, nothing at all.
TEST(Hdf5, ReadsWhatAnotherWriterMade) {
  const Hdf5File file = Hdf5File::open(MEMRING_GOLDEN "/../fuzz/corpus/token_file/h5py_kinds.h5");
  EXPECT_EQ(file.text_attribute("config"), "[model]\nlayers = 1\n");
  EXPECT_EQ(file.text_attribute("note"), "");
  EXPECT_EQ(file.number_attribute("number"), 0.5);
  expect_error(ExitCode::Data, {"'list'", "not a number"}, [&] { file.number_attribute("list"); });
  for (const char* name : {"params/a", "params/b"}) EXPECT_EQ(file.read<double>(name), (std::vector<double>{0, 1, 2}));
  for (const char* name : {"params/c", "params/e", "params/f"})
    EXPECT_EQ(file.read<int32_t>(name), (std::vector<int32_t>{0, 1, 2})) << name;
  expect_error(ExitCode::Data, {"/params/d is another [3]"}, [&] { file.read<int64_t>("params/d"); });
  expect_error(ExitCode::Data, {"/chunked is not stored in one piece"}, [&] { file.read<int64_t>("chunked"); });
  expect_error(ExitCode::Data, {"/nothing is not a dataset"}, [&] { file.dataset("nothing"); });
  EXPECT_TRUE(file.has("empty") && file.list("empty").empty());
  expect_error(ExitCode::Data, {"/batch/link is a link"}, [&] { file.has("batch/link"); });
  const Hdf5File fixed = Hdf5File::open(MEMRING_GOLDEN "/../fuzz/corpus/token_file/h5py_wide.h5");
  EXPECT_EQ(fixed.text_attribute("tokenizer"), "other");
  EXPECT_EQ(fixed.integer_attribute("vocab"), 70000);
}

TEST(Hdf5, AStructureThatRefersToItselfIsRefused) {
  const TemporaryFolder folder;
  write_sample(folder / "a.h5");
  std::string bytes = test::content_of(folder / "a.h5");
  constexpr size_t kRootAt = 64, kLeafHead = 8, kName = 8;
  bytes.replace(bytes.find("SNOD") + kLeafHead + kName, 8, bytes.substr(kRootAt, 8));
  test::put_content(folder / "a.h5", bytes);
  expect_error(ExitCode::Data, {"nested too deep"}, [&] { Hdf5File::open(folder / "a.h5"); });
}

TEST(Hdf5, WritingSaysWhatTheSystemRefuses) {
  const TemporaryFolder folder;
  expect_error(ExitCode::Io, {"/nowhere/a.h5", "No such file"}, [&] { Hdf5Writer::create(folder / "nowhere/a.h5"); });
  Hdf5Writer file = Hdf5Writer::create(folder / "a.h5");
  file.create_dataset("x", Hdf5Type::U8, {1});
  expect_error(ExitCode::Io, {"a.h5", "/x", "HDF5 says"}, [&] { file.create_dataset("x", Hdf5Type::U8, {1}); });
}

TEST(File, ReadsAndWritesByPositionAndNamesWhatIsTooShort) {
  const TemporaryFolder folder;
  File file = File::create(folder / "a");
  const std::vector<uint8_t> bytes{1, 2, 3};
  file.write_at(5, std::as_bytes(std::span(bytes)));
  EXPECT_EQ(file.size(), 8);
  std::vector<uint8_t> found(4);
  file.read_at(4, std::as_writable_bytes(std::span(found)));
  EXPECT_EQ(found, (std::vector<uint8_t>{0, 1, 2, 3}));
  expect_error(ExitCode::Data, {"ends at byte 8", "1 more"},
               [&] { file.read_at(5, std::as_writable_bytes(std::span(found))); });
  file.close();
  rename_durably(folder / "a", folder / "b");
  EXPECT_EQ(folder.entries(), 1u);
  expect_error(ExitCode::Io, {"No such file"}, [&] { rename_durably(folder / "a", folder / "c"); });
  EXPECT_EQ(folder_of("a"), ".");
  EXPECT_EQ(folder_of("/a"), "/");
  EXPECT_EQ(folder_of("x/y/a"), "x/y");
}

// XXH3-64 of the empty input, from the xxHash project's own test vectors (seed 0).
TEST(Digest, PiecesGiveTheDigestOfTheWhole) {
  EXPECT_EQ(digest_text(digest_of({})), "2d06800538d394c2");
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>(i * i);
  for (const size_t step : {size_t{1}, size_t{7}, size_t{1000}, size_t{5000}}) {
    Digest digest;
    for (size_t i = 0; i < text.size(); i += step) digest.add(std::string_view(text).substr(i, step));
    EXPECT_EQ(digest.value(), digest_of(std::as_bytes(std::span(text)))) << "pieces of " << step;
  }
}

}  // namespace
}  // namespace memring
