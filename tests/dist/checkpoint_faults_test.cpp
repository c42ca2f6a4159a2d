// Checkpoints in trouble: damage is found before use and an older one is taken; a save that fails harms nothing and
// says why, once, on every rank.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <functional>

#include "base/error.h"
#include "checkpoint/files.h"
#include "checkpoint/manifest.h"
#include "checkpoint_run.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOlder = "/step-000000001";
constexpr const char* kNewer = "/step-000000002";

/// A valid manifest with one piece of text replaced and its digest made anew.
void forge_manifest(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = text_of(path);
  text.resize(text.rfind(",\n \"digest\""));
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  write_text(path, seal_manifest(text));
}

struct Damage {
  const char* name;
  std::function<void(const std::string& directory)> inflict;  ///< on the newer checkpoint
  const char* reason;                                         ///< in the warning
};

const std::vector<Damage>& damages() {
  static const std::vector<Damage> list = {
      {"first byte", [](const std::string& d) { flip_byte(d + kNewer + "/state.h5", 0); }, "have digest"},
      {"byte of a tensor", [](const std::string& d) { flip_byte(d + kNewer + "/state.h5", 6'000'000); }, "lm_head"},
      {"last byte",
       [](const std::string& d) {
         flip_byte(d + kNewer + "/state.h5", static_cast<int64_t>(fs::file_size(d + kNewer + "/state.h5")) - 1);
       },
       "have digest"},
      {"truncated", [](const std::string& d) { fs::resize_file(d + kNewer + "/state.h5", 9'000'000); },
       "9000000 bytes"},
      {"longer", [](const std::string& d) { fs::resize_file(d + kNewer + "/state.h5", 90'000'000); }, "90000000 bytes"},
      {"no data", [](const std::string& d) { fs::remove(d + kNewer + "/state.h5"); }, "does not exist"},
      {"no manifest", [](const std::string& d) { fs::remove(d + kNewer + "/manifest.json"); }, "does not exist"},
      {"empty manifest", [](const std::string& d) { write_text(d + kNewer + "/manifest.json", ""); }, "is damaged"},
      {"byte of the manifest", [](const std::string& d) { flip_byte(d + kNewer + "/manifest.json", 40); },
       "is damaged"},
      {"half a manifest", [](const std::string& d) { fs::resize_file(d + kNewer + "/manifest.json", 700); },
       "is damaged"},
      {"manifest of another",
       [](const std::string& d) {
         fs::copy_file(d + kOlder + "/manifest.json", d + kNewer + "/manifest.json",
                       fs::copy_options::overwrite_existing);
       },
       "manifest of step 1"},
      {"data of another",
       [](const std::string& d) {
         fs::copy_file(d + kOlder + "/state.h5", d + kNewer + "/state.h5", fs::copy_options::overwrite_existing);
       },
       "have digest"},
      {"manifest with a tensor outside the file",
       [](const std::string& d) {
         forge_manifest(d + kNewer + "/manifest.json", "\"optimizer/v\": ", "\"optimizer/v\": 99");
       },
       "optimizer/v"},
      {"manifest with a shape that overflows",
       [](const std::string& d) { forge_manifest(d + kNewer + "/manifest.json", "257,", "4611686018427387904,"); },
       "shape"},
      {"manifest that is no JSON",
       [](const std::string& d) { forge_manifest(d + kNewer + "/manifest.json", "{", "["); }, "no valid manifest"}};
  return list;
}

TEST(CheckpointFaults, DamageIsFoundAndTheOneBeforeIsTaken) {
  for (const Damage& damage : damages()) {
    SharedFolder folder;
    save_generations<float>(world(), folder.path(), mixed_layout(), {1, 2});
    on_rank_0([&] { damage.inflict(folder.path()); });
    Trained<float> trained(world(), mixed_layout(), 50);
    std::vector<std::string> warnings;
    const auto loaded = load_newest(world(), folder.path(), trained.data, warnings);
    ASSERT_TRUE(loaded.has_value()) << damage.name;
    EXPECT_EQ(loaded->path, folder.path() + kOlder) << damage.name;
    trained.expect_generation(1, damage.name);
    ASSERT_EQ(warnings.size(), 1u) << damage.name;
    EXPECT_NE(warnings[0].find(folder.path() + kNewer), std::string::npos) << warnings[0];
    EXPECT_NE(warnings[0].find(damage.reason), std::string::npos) << damage.name << ": " << warnings[0];
    // "manifest of another" is consistent in itself as long as nobody compares it with the name of its directory.
    on_rank_0([&] { EXPECT_FALSE(verify_checkpoint(folder.path() + kNewer).empty()) << damage.name; });
  }
}

TEST(CheckpointFaults, WhenNoneIsGoodAllAreNamed) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), mixed_layout(), {1, 2});
  on_rank_0([&] {
    flip_byte(folder.path() + kOlder + "/state.h5", 5'000'000);
    fs::remove(folder.path() + kNewer + "/manifest.json");
  });
  Trained<float> trained(world(), mixed_layout(), 50);
  std::vector<std::string> warnings;
  try {
    load_newest(world(), folder.path(), trained.data, warnings);
    ADD_FAILURE() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Data);
    EXPECT_NE(std::string(error.what()).find("step-000000001: "), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("step-000000002: "), std::string::npos) << error.what();
  }
}

void expect_refused(const std::string& directory, const FlatBuffer& layout, const std::vector<std::string>& expected) {
  Trained<float> trained(world(), layout, 50);
  std::vector<std::string> warnings;
  try {
    load_newest(world(), directory, trained.data, warnings);
    ADD_FAILURE() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Data);
    for (const std::string& text : expected)
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos)
          << "'" << text << "' is not in: " << error.what();
  }
  EXPECT_TRUE(warnings.empty()) << "no falling back to an older one";
  trained.expect_generation(50, "untouched");
}

TEST(CheckpointFaults, AnotherModelIsRefusedWithItsDifferences) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), small_layout(), {1, 2});
  expect_refused(folder.path(), layout_of({{"a.weight", {5, 3}}, {"b.weight", {3}}, {"d.weight", {1}}}),
                 {"3 of its tensors differ", "b.weight is [3] in the model and [2] in the checkpoint",
                  "d.weight [1] is only in the model", "c.weight [40, 40] is only in the checkpoint"});
  std::vector<std::pair<std::string, Shape>> many;
  for (int i = 0; i < 20; ++i) many.emplace_back(fmt::format("t{}", i), Shape{1});
  expect_refused(folder.path(), layout_of(many), {"23 of its tensors differ", "t4", "; ..."});
}

TEST(CheckpointFaults, AnotherDataTypeIsRefused) {
  SharedFolder folder;
  save_generations<double>(world(), folder.path(), small_layout(), {1});
  expect_refused(folder.path(), small_layout(), {"holds fp64 tensors", "fp32"});
}

TEST(CheckpointFaults, ANewerFormatIsRefusedAndNotPassedOver) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), small_layout(), {1, 2});
  on_rank_0([&] {
    forge_manifest(folder.path() + kNewer + "/manifest.json", "\"format_version\": 1", "\"format_version\": 2");
  });
  expect_refused(folder.path(), small_layout(), {"step-000000002", "is of format 2", "up to 1"});
}

TEST(CheckpointFaults, VerifyNamesBytesAndTensors) {
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), mixed_layout(), {1});
  on_rank_0([&] {
    const std::string path = folder.path() + kOlder;
    flip_byte(path + "/state.h5", 6'000'000);
    flip_byte(path + "/state.h5", 12'000'000);
    const auto faults = verify_checkpoint(path);
    ASSERT_EQ(faults.size(), 2u);
    EXPECT_NE(faults[0].find("bytes 4194304 to 8388608"), std::string::npos) << faults[0];
    EXPECT_NE(faults[0].find("params/lm_head.weight"), std::string::npos) << faults[0];
  });
}

/// Lowers one of the process's limits for a while.
class Limit {
 public:
  Limit(decltype(RLIMIT_FSIZE) resource, rlim_t value) : resource_(resource) {
    ::getrlimit(resource_, &before_);
    const rlimit limited{value, before_.rlim_max};
    ::setrlimit(resource_, &limited);
  }
  ~Limit() { ::setrlimit(resource_, &before_); }
  Limit(const Limit&) = delete;
  Limit& operator=(const Limit&) = delete;

 private:
  decltype(RLIMIT_FSIZE) resource_;
  rlimit before_{};
};

/// Saves step 2 after step 1 while `break_it` lasts: one clear error, the same on every rank; step 1 stays as it was,
/// nothing else stays, and the next save works.
void expect_clean_failure(const std::string& directory,
                          const std::function<void(CheckpointWriter&, Trained<float>&)>& attempt,
                          const std::string& reason, const std::function<void()>& mend) {
  Trained<float> trained(world(), mixed_layout(), 1);
  CheckpointWriter writer(host_queue(), world(), directory, {.keep = 100}, trained.data);
  writer.save(trained.data, test_info(session().size()));
  writer.finish();
  trained.become(2);
  std::string message;
  try {
    attempt(writer, trained);
    ADD_FAILURE() << "saved";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Io);
    message = error.what();
  }
  EXPECT_NE(message.find(reason), std::string::npos) << message;
  EXPECT_NE(message.find("step 2"), std::string::npos) << message;
  std::string of_rank_0 = message;
  broadcast_text(world(), of_rank_0);
  EXPECT_EQ(message, of_rank_0);
  EXPECT_EQ(writer.last_committed(), 1);
  EXPECT_NO_THROW(writer.finish()) << "an error is reported once";

  on_rank_0([&] {
    mend();
    for (const auto& entry : fs::directory_iterator(directory)) EXPECT_EQ(entry.path().filename(), "step-000000001");
    EXPECT_TRUE(verify_checkpoint(directory + kOlder).empty());
  });
  writer.save(trained.data, test_info(session().size()));
  writer.finish();
  EXPECT_EQ(writer.last_committed(), 2);
  load_checkpoint(world(), directory + kNewer, trained.data);
  trained.expect_generation(2, "after the failure");
}

TEST(CheckpointFaults, ARankThatCannotWriteFailsTheSaveOnAll) {
  if (session().size() < 2) GTEST_SKIP() << "needs a rank that does not lay out the file";
  const int last = session().size() - 1;
  // Without another open file not even a word to rank 0 can be written.
  for (const auto& [resource, value] : {std::pair{RLIMIT_FSIZE, rlim_t{65536}}, std::pair{RLIMIT_NOFILE, rlim_t{3}}}) {
    SharedFolder folder;
    const auto attempt = [&, what = resource, most = value](CheckpointWriter& writer, Trained<float>& trained) {
      std::optional<Limit> limited;
      if (session().rank() == last) limited.emplace(what, most);
      writer.save(trained.data, test_info(session().size()));
      writer.finish();
    };
    expect_clean_failure(folder.path(), attempt, fmt::format("rank {}: ", last), [] {});
  }
}

TEST(CheckpointFaults, AFailureIsAlsoReportedByTheNextSave) {
  SharedFolder folder;
  expect_clean_failure(
      folder.path(),
      [&](CheckpointWriter& writer, Trained<float>& trained) {
        on_rank_0([&] { write_text(folder.path() + kNewer, "a file in the way"); });
        writer.save(trained.data, test_info(session().size()));
        writer.save(trained.data, test_info(session().size()));
      },
      "Not a directory", [&] { fs::remove(folder.path() + kNewer); });
}

TEST(CheckpointFaults, WhatFailsBehindACommitIsAWarningAndTheCheckpointIsSaved) {
  SharedFolder folder;
  Trained<float> trained(world(), small_layout(), 1);
  CheckpointWriter writer(host_queue(), world(), folder.path(),
                          {.committed = [](const NamedNumbers&) { throw Error(ExitCode::Io, "no ink", "Buy some."); }},
                          trained.data);
  writer.save(trained.data, test_info(session().size()));
  EXPECT_NO_THROW(writer.finish());
  EXPECT_EQ(writer.last_committed(), 1);
  const auto warning = writer.take_warning();
  ASSERT_EQ(warning.has_value(), session().rank() == 0);
  EXPECT_EQ(warning.value_or("the checkpoint of step 1 is saved, but no ink. Buy some."),
            "the checkpoint of step 1 is saved, but no ink. Buy some.");
  EXPECT_FALSE(writer.take_warning()) << "said once";
  load_checkpoint(world(), folder.path() + kOlder, trained.data);
}

// A rank that meets damage must not hide that another could not read: what is damaged is passed over.
TEST(CheckpointFaults, WhatOneRankCannotReadIsNotPassedOver) {
  if (session().size() < 2) GTEST_SKIP() << "needs a rank that only reads its part";
  SharedFolder folder;
  save_generations<float>(world(), folder.path(), mixed_layout(), {1, 2});
  on_rank_0([&] { flip_byte(folder.path() + kNewer + "/state.h5", 0); });
  Trained<float> trained(world(), mixed_layout(), 50);
  std::vector<std::string> warnings;
  try {
    std::optional<Limit> no_more_files;
    if (session().rank() == session().size() - 1) no_more_files.emplace(RLIMIT_NOFILE, 3);
    load_newest(world(), folder.path(), trained.data, warnings);
    ADD_FAILURE() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Io) << error.what();
    EXPECT_NE(std::string(error.what()).find("Too many open files"), std::string::npos) << error.what();
    EXPECT_NE(error.hint().find("not passed over"), std::string::npos) << error.hint();
  }
  EXPECT_TRUE(warnings.empty()) << "no falling back to an older one";
}

TEST(CheckpointFaults, ALimitOnTheSizeOfFilesFailsTheSaveAtOnce) {
  SharedFolder folder;
  expect_clean_failure(
      folder.path(),
      [&](CheckpointWriter& writer, Trained<float>& trained) {
        const Limit limited(RLIMIT_FSIZE, 65536);
        writer.save(trained.data, test_info(session().size()));
      },
      "may write at most 65536", [] {});
}

TEST(CheckpointFaults, ADirectoryThatIsGoneFailsTheSaveAtOnce) {
  SharedFolder folder;
  const std::string aside = folder.path() + "/aside", directory = folder.path() + "/checkpoints";
  expect_clean_failure(
      directory,
      [&](CheckpointWriter& writer, Trained<float>& trained) {
        on_rank_0([&] { fs::rename(directory, aside); });
        writer.save(trained.data, test_info(session().size()));
      },
      directory, [&] { fs::rename(aside, directory); });
}

TEST(CheckpointFaults, MissingSpaceIsToldInBytes) {
  try {
    require_space("/tmp", INT64_MAX / 2);
    ADD_FAILURE() << "4 EiB fit";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::Io);
    EXPECT_NE(std::string(error.what()).find("needs 4611686018427387903 bytes in /tmp"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("are missing"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace memring
