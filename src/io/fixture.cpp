// Reads golden fixtures and checks that every part is there, of one shape with its partner.
// SPDX-License-Identifier: Apache-2.0
#include "io/fixture.h"

#include <utility>

#include "base/error.h"
#include "io/hdf5.h"

namespace memring {
namespace {

constexpr const char* kFormat = "memring-fixture-1";
constexpr const char* kRemedy = "Give a file like tests/golden/*.h5; tests/golden/README.md describes the format.";

[[noreturn]] void bad(const std::string& path, const std::string& finding) {
  throw Error(ExitCode::Data, fmt::format("fixture {}: {}", path, finding), kRemedy);
}

FixtureTensor read_tensor(const Hdf5File& file, const std::string& name) {
  return {file.dataset(name).shape, file.read<double>(name)};
}

/// All datasets below a group, by the rest of their names; none when the group is absent.
std::map<std::string, FixtureTensor> read_group(const Hdf5File& file, const std::string& group) {
  std::map<std::string, FixtureTensor> tensors;
  if (!file.has(group)) return tensors;
  for (const Hdf5Dataset& dataset : file.list(group))
    tensors.emplace(dataset.name.substr(group.size() + 1), read_tensor(file, dataset.name));
  return tensors;
}

void expect_shape(const Fixture& fixture, const char* dataset, const Shape& found, const Shape& expected) {
  if (!(found == expected))
    bad(fixture.path, fmt::format("dataset /{} is {}; {} was expected", dataset, found.text(), expected.text()));
}

/// Whole numbers, however they are stored.
std::vector<int32_t> read_whole(const Hdf5File& file, const std::string& name) {
  const Hdf5Type type = file.dataset(name).type;
  if (type != Hdf5Type::F64 && type != Hdf5Type::F32) {
    const std::vector<int64_t> values = file.read<int64_t>(name);
    return {values.begin(), values.end()};
  }
  const std::vector<double> values = file.read<double>(name);
  return {values.begin(), values.end()};
}

/// A gradient for each parameter, of its shape.
std::map<std::string, FixtureTensor> read_gradients(const Hdf5File& file, const Fixture& fixture,
                                                    const std::string& group) {
  std::map<std::string, FixtureTensor> grads = read_group(file, group);
  for (const auto& [name, tensor] : fixture.params) {
    const auto gradient = grads.find(name);
    if (gradient == grads.end()) bad(fixture.path, fmt::format("dataset /{}/{} is missing", group, name));
    expect_shape(fixture, (group + "/" + name).c_str(), gradient->second.shape, tensor.shape);
  }
  for (const auto& [name, tensor] : grads)
    if (!fixture.params.contains(name)) bad(fixture.path, fmt::format("/{}/{} belongs to no parameter", group, name));
  return grads;
}

ReservoirDraw read_draw(const Hdf5File& file, const Fixture& fixture) {
  ReservoirDraw draw;
  const Shape shape = file.dataset("draw/alive").shape;
  if (shape.rank() != 2 || shape[0] != shape[1] || shape[0] == 0)
    bad(fixture.path, fmt::format("dataset /draw/alive is {}; [segments, segments] was expected", shape.text()));
  draw.segments = shape[0];
  draw.alive = read_whole(file, "draw/alive");
  if (file.has("draw/reservoir")) {
    const std::vector<int32_t> places = read_whole(file, "draw/reservoir");
    if (places.size() == 1) draw.places = places[0];
  } else {
    draw.places = file.integer_attribute("reservoir", "draw");
  }
  if (draw.places < 1) bad(fixture.path, "/draw/reservoir is not one number of 1 or more");
  draw.grads_unweighted = read_gradients(file, fixture, "expect/grads_unweighted");
  return draw;
}

}  // namespace

std::string fixture_format(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, "fixture", kRemedy);
  return file.has_attribute("format") ? file.text_attribute("format") : std::string();
}

Fixture read_fixture(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, "fixture", kRemedy);
  if (!file.has_attribute("format")) bad(path, "it has no attribute 'format', so it is another kind of file");
  const std::string format = file.text_attribute("format");
  if (format != kFormat && format != kReservoirFormat)
    bad(path, fmt::format("its format is \"{}\"; \"{}\" was expected", format, kFormat));

  Fixture fixture;
  fixture.path = path;
  fixture.config = file.text_attribute("config");
  fixture.note = file.text_attribute("note");

  fixture.params = read_group(file, "params");
  if (fixture.params.empty()) bad(path, "it has no parameters (/params)");

  fixture.batch = file.dataset("batch/tokens").shape;
  if (fixture.batch.rank() != 2 || fixture.batch.elements() == 0)
    bad(path, fmt::format("dataset /batch/tokens is {}; [sequences, tokens] was expected", fixture.batch.text()));
  expect_shape(fixture, "batch/targets", file.dataset("batch/targets").shape, fixture.batch);
  fixture.tokens = file.read<int32_t>("batch/tokens");
  fixture.targets = file.read<int32_t>("batch/targets");

  const FixtureTensor loss = read_tensor(file, "expect/loss");
  expect_shape(fixture, "expect/loss", loss.shape, Shape{});
  fixture.loss = loss.values[0];
  fixture.nll = read_tensor(file, "expect/nll");
  expect_shape(fixture, "expect/nll", fixture.nll.shape, fixture.batch);
  if (file.has("expect/logits")) {
    fixture.logits = read_tensor(file, "expect/logits");
    const Shape& shape = fixture.logits.shape;
    if (shape.rank() != 3 || shape[0] != fixture.batch[0] || shape[1] != fixture.batch[1])
      bad(path, fmt::format("dataset /expect/logits is {}; [{}, {}, vocabulary] was expected", shape.text(),
                            fixture.batch[0], fixture.batch[1]));
  }
  fixture.grads = read_gradients(file, fixture, "expect/grads");
  if (format == kReservoirFormat) fixture.draw = read_draw(file, fixture);
  fixture.state = read_group(file, "expect/state");
  return fixture;
}

}  // namespace memring
