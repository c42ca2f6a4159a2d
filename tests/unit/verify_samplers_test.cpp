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

void put_number(const std::string& path, const Hdf5Dataset& dataset, int64_t index, int32_t value) {
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out)
      .seekp(dataset.offset + index * bytes_of(dataset.type))
      .write(reinterpret_cast<const char*>(&value), sizeof value);
}

TEST(VerifySamplers, OneChangedNumberFails) {
  const test::TemporaryFolder folder;
  const std::string copy = folder / "samplers.h5";
  const Hdf5File file = Hdf5File::open(kFile);
  for (const Hdf5Dataset& dataset : file.list()) {
    SCOPED_TRACE(dataset.name);
    if (dataset.type != Hdf5Type::I32) continue;
    const auto numbers = file.read<int32_t>(dataset.name);
    // Sentence 0 takes slot 0 whatever was drawn; a count may be another by chance, a token that ends no sentence too.
    const bool slots = dataset.name.ends_with("slots");
    const size_t index = slots ? numbers.size() - 1 : 0;
    const int32_t value = dataset.name.starts_with("longrecipe") && dataset.name.ends_with("tokens") ? 13
                          : dataset.name.ends_with("_count") ? numbers[index] + 2000
                                                             : numbers[index] + (slots ? -1 : 1);
    std::filesystem::copy_file(kFile, copy, std::filesystem::copy_options::overwrite_existing);
    put_number(copy, dataset, static_cast<int64_t>(index), value);
    try {
      EXPECT_FALSE(verify_samplers(copy).passed());
    } catch (const Error& error) {
      EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(ExitCode::Data)) << error.what();
    }
  }
}

}  // namespace
}  // namespace memring
