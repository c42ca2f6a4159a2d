// memring verify of position samplers: the file of the original programs passes, and a copy with one number changed
// does not, whatever the number.
// SPDX-License-Identifier: Apache-2.0
#include "eval/verify_samplers.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "files.h"
#include "io/hdf5.h"

namespace memring {
namespace {

const std::string kFile = std::string(MEMRING_GOLDEN) + "/peers/samplers.h5";

TEST(VerifySamplers, EveryEntryAgrees) {
  const Verification result = verify_samplers(kFile);
  EXPECT_TRUE(result.passed());
  EXPECT_EQ(result.comparisons.size(), 31U);
}

/// Adds to a dataset's last number.
void change_last(const std::string& path, const Hdf5Dataset& dataset, int32_t by) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  const auto at = dataset.offset + dataset.bytes() - bytes_of(dataset.type);
  int32_t value = 0;
  file.seekg(at).read(reinterpret_cast<char*>(&value), sizeof value);
  value += by;
  file.seekp(at).write(reinterpret_cast<const char*>(&value), sizeof value);
}

TEST(VerifySamplers, OneChangedNumberFails) {
  const test::TemporaryFolder folder;
  for (const Hdf5Dataset& dataset : Hdf5File::open(kFile).list()) {
    SCOPED_TRACE(dataset.name);
    if (dataset.type != Hdf5Type::I32) continue;
    // A count may be another by chance; a word that ends no sentence may be another.
    const int32_t by = dataset.name.ends_with("_count")                                             ? 2000
                       : dataset.name.starts_with("longrecipe") && dataset.name.ends_with("tokens") ? 13 - 815
                                                                                                    : 1;
    const std::string copy = folder / "samplers.h5";
    std::filesystem::copy_file(kFile, copy, std::filesystem::copy_options::overwrite_existing);
    change_last(copy, dataset, by);
    try {
      EXPECT_FALSE(verify_samplers(copy).passed());
    } catch (const Error& error) {
      EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(ExitCode::Data)) << error.what();
    }
  }
}

}  // namespace
}  // namespace memring
