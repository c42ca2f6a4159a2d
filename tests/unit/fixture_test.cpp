// Fixtures: every golden file is read whole, and a file with a part missing or of another shape is refused by name.
// SPDX-License-Identifier: Apache-2.0
#include "io/fixture.h"
#include "base/error.h"

#include <cmath>
#include <cstring>

#include "files.h"
#include "io/hdf5.h"

namespace memring {
namespace {

using test::expect_error;
using test::TemporaryFolder;

TEST(Fixture, EveryGoldenFileIsReadWhole) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MEMRING_GOLDEN)) {
    if (entry.path().extension() != ".h5") continue;
    ++files;
    SCOPED_TRACE(entry.path().filename());
    const Fixture fixture = read_fixture(entry.path().string());
    const bool none = entry.path().filename().string().starts_with("llama");
    EXPECT_EQ(fixture.state.empty(), none);
    EXPECT_EQ(fixture.params.size(), fixture.grads.size());
    EXPECT_NE(fixture.config.find("[model]"), std::string::npos);
    ASSERT_EQ(fixture.tokens.size(), static_cast<size_t>(fixture.batch.elements()));
    ASSERT_EQ(fixture.targets.size(), fixture.tokens.size());
    for (const auto& [name, tensor] : fixture.params)
      for (const double value : tensor.values)
        ASSERT_EQ(value, static_cast<double>(static_cast<float>(value))) << name << " is not exact in fp32";
    // The loss is the mean of nll over counted targets.
    double sum = 0;
    int counted = 0;
    for (size_t i = 0; i < fixture.targets.size(); ++i) {
      counted += fixture.targets[i] >= 0;
      sum += fixture.nll.values[i];
    }
    EXPECT_NEAR(sum / counted, fixture.loss, 1e-12 * fixture.loss);
  }
  EXPECT_EQ(files, 8);
}

/// Which part of an otherwise good fixture is spoilt.
void write_fixture(const std::string& path, const std::string& spoilt) {
  Hdf5Writer file = Hdf5Writer::create(path);
  file.write_attribute("format", std::string(spoilt == "format" ? "memring-fixture-9" : "memring-fixture-1"));
  file.write_attribute("note", std::string("made by a test"));
  if (spoilt != "config") file.write_attribute("config", std::string("[model]\n"));
  auto make = [&](const std::string& name, Hdf5Type type, Shape shape) {
    if (spoilt != name) file.create_dataset(name, type, shape);
  };
  make("params/w", Hdf5Type::F64, {2, 3});
  make("batch/tokens", Hdf5Type::I32, {1, 4});
  make("batch/targets", Hdf5Type::I32, spoilt == "target shape" ? Shape{1, 5} : Shape{1, 4});
  make("expect/loss", spoilt == "loss type" ? Hdf5Type::I32 : Hdf5Type::F64, {});
  make("expect/nll", Hdf5Type::F64, {1, 4});
  make("expect/grads/w", Hdf5Type::F64, spoilt == "gradient shape" ? Shape{3, 2} : Shape{2, 3});
  if (spoilt == "stray gradient") make("expect/grads/u", Hdf5Type::F64, {1});
  file.close();
}

TEST(Fixture, LogitsAndStateMayBeAbsent) {
  const TemporaryFolder folder;
  write_fixture(folder / "a.h5", "");
  const Fixture fixture = read_fixture(folder / "a.h5");
  EXPECT_TRUE(fixture.logits.values.empty() && fixture.state.empty());
  EXPECT_EQ(fixture.params.at("w").shape, (Shape{2, 3}));
  EXPECT_EQ(fixture.batch, (Shape{1, 4}));
}

TEST(Fixture, APartThatIsMissingOrOfAnotherShapeIsNamed) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  auto expect_bad = [&](const std::string& spoilt, std::initializer_list<const char*> parts) {
    SCOPED_TRACE(spoilt);
    write_fixture(path, spoilt);
    expect_error(ExitCode::Data, parts, [&] { read_fixture(path); });
  };
  expect_bad("format", {"a.h5", "memring-fixture-9", "memring-fixture-1"});
  expect_bad("config", {"a.h5", "'config'"});
  expect_bad("params/w", {"no parameters"});
  expect_bad("batch/tokens", {"/batch/tokens is missing"});
  expect_bad("batch/targets", {"/batch/targets is missing"});
  expect_bad("expect/loss", {"/expect/loss is missing"});
  expect_bad("expect/nll", {"/expect/nll is missing"});
  expect_bad("expect/grads/w", {"/expect/grads/w is missing"});
  expect_bad("target shape", {"/batch/targets is [1, 5]", "[1, 4] was expected"});
  expect_bad("gradient shape", {"/expect/grads/w is [3, 2]", "[2, 3] was expected"});
  expect_bad("loss type", {"/expect/loss is int32"});
  expect_bad("stray gradient", {"expect/grads/u"});
  expect_error(ExitCode::Data, {"does not exist"}, [&] { read_fixture(folder / "none.h5"); });
}

}  // namespace
}  // namespace memring
