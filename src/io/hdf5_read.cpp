// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "base/error.h"
#include "io/file.h"
#include "io/hdf5.h"
#include "io/hdf5_structure.h"

namespace memring {
namespace {

using Kind = Hdf5Attribute::Kind;

constexpr const char* kDamaged = "The file is damaged or was made by another program: make or copy it again.";

[[noreturn]] void bad_data(const std::string& path, const std::string& finding) {
  throw Error(ExitCode::Data, fmt::format("{}: {}", path, finding), kDamaged);
}

bool starts_as_hdf5(const File& file) {
  std::array<char, kHdf5Signature.size()> signature{};
  if (file.size() < static_cast<int64_t>(signature.size())) return false;
  file.read_at(0, std::as_writable_bytes(std::span(signature)));
  return std::string_view(signature.data(), signature.size()) == kHdf5Signature;
}

}  // namespace

struct Hdf5File::State {
  File file;
  std::map<std::string, Hdf5Object> objects;

  const Hdf5Attribute& attribute(const std::string& name, const std::string& object) const {
    const auto found = objects.find(object);
    const auto end = objects.end();
    if (found == end || !found->second.attributes.contains(name))
      bad_data(file.path(), fmt::format("attribute '{}' of {} is missing", name, object));
    return found->second.attributes.at(name);
  }
};

Hdf5File::Hdf5File(std::unique_ptr<State> state) : state_(std::move(state)) {}
Hdf5File::~Hdf5File() = default;
Hdf5File::Hdf5File(Hdf5File&&) noexcept = default;

Hdf5File Hdf5File::open(const std::string& path, const std::string& what, const std::string& remedy) {
  auto open_read = [&] {
    try {
      return File::open_read(path);
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}: {}", what, error.what()), remedy.empty() ? error.hint() : remedy);
    }
  };
  auto state = std::make_unique<State>(State{open_read(), {}});
  if (!starts_as_hdf5(state->file))
    throw Error(ExitCode::Data, fmt::format("{}: {} is not an HDF5 file", what, path),
                remedy.empty() ? kDamaged : remedy);
  try {
    state->objects = read_structure(state->file);
  } catch (const Error& error) {
    bad_data(path, fmt::format("this {} is HDF5 but cannot be read: {}", what, error.what()));
  }
  return Hdf5File(std::move(state));
}

const std::string& Hdf5File::path() const { return state_->file.path(); }

bool Hdf5File::has(const std::string& name) const {
  const auto found = state_->objects.find(name);
  if (found == state_->objects.end()) return false;
  if (found->second.kind == Hdf5Object::Kind::Link)
    bad_data(path(), fmt::format("/{} is a link to another place, which memring does not follow", name));
  return true;
}

Hdf5Dataset Hdf5File::dataset(const std::string& name) const {
  if (!has(name)) bad_data(path(), fmt::format("dataset /{} is missing", name));
  const Hdf5Object& object = state_->objects.at(name);
  if (object.kind != Hdf5Object::Kind::Dataset)
    bad_data(path(), fmt::format("/{} is not a dataset that memring reads", name));
  return object.dataset;
}

std::vector<Hdf5Dataset> Hdf5File::list(const std::string& group) const {
  if (!has(group)) bad_data(path(), fmt::format("group {} is missing", group));
  const std::string prefix = group == "/" ? "" : group + "/";
  std::vector<Hdf5Dataset> result;
  for (const auto& [name, object] : state_->objects)
    if (object.kind == Hdf5Object::Kind::Dataset && name.starts_with(prefix)) result.push_back(object.dataset);
  return result;
}

std::vector<std::string> Hdf5File::groups(const std::string& group) const {
  if (!has(group)) bad_data(path(), fmt::format("group {} is missing", group));
  const std::string prefix = group == "/" ? "" : group + "/";
  std::vector<std::string> result;
  for (const auto& [name, object] : state_->objects)
    if (object.kind == Hdf5Object::Kind::Group && name != group && name.starts_with(prefix) &&
        name.find('/', prefix.size()) == std::string::npos)
      result.push_back(name);
  return result;
}

namespace {

template <class T, class Stored>
std::vector<T> convert(const std::vector<std::byte>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < values.size(); ++i) {
    Stored value;
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    values[i] = static_cast<T>(value);
  }
  return values;
}

}  // namespace

template <class T>
std::vector<T> Hdf5File::read(const std::string& name) const {
  const Hdf5Dataset found = dataset(name);
  if (found.offset < 0 && found.shape.elements() > 0)
    bad_data(path(), fmt::format("dataset /{} is not stored in one piece", name));
  std::vector<std::byte> bytes(static_cast<size_t>(found.bytes()));
  if (!bytes.empty()) state_->file.read_at(found.offset, bytes);
  if constexpr (std::is_same_v<T, double>) {
    if (found.type == Hdf5Type::F64) return convert<T, double>(bytes);
    if (found.type == Hdf5Type::F32) return convert<T, float>(bytes);
  } else {
    if (found.type == Hdf5Type::I32) return convert<T, int32_t>(bytes);
    if (found.type == Hdf5Type::U8) return convert<T, uint8_t>(bytes);
    if (found.type == Hdf5Type::U16) return convert<T, uint16_t>(bytes);
    if constexpr (sizeof(T) == 8) {
      if (found.type == Hdf5Type::I64) return convert<T, int64_t>(bytes);
      if (found.type == Hdf5Type::U32) return convert<T, uint32_t>(bytes);
    }
  }
  const char* expected = std::is_same_v<T, double> ? "float64" : sizeof(T) == 8 ? "int64" : "int32";
  bad_data(path(), fmt::format("dataset /{} is {} {}; {} was expected", name, name_of(found.type), found.shape.text(),
                               expected));
}
template std::vector<double> Hdf5File::read(const std::string&) const;
template std::vector<int32_t> Hdf5File::read(const std::string&) const;
template std::vector<int64_t> Hdf5File::read(const std::string&) const;

bool Hdf5File::has_attribute(const std::string& name, const std::string& object) const {
  const auto found = state_->objects.find(object);
  return found != state_->objects.end() && found->second.attributes.contains(name);
}

std::string Hdf5File::text_attribute(const std::string& name, const std::string& object) const {
  const Hdf5Attribute& attribute = state_->attribute(name, object);
  if (attribute.kind != Kind::Text) bad_data(path(), fmt::format("attribute '{}' of {} is not a text", name, object));
  return attribute.text;
}

int64_t Hdf5File::integer_attribute(const std::string& name, const std::string& object) const {
  const Hdf5Attribute& attribute = state_->attribute(name, object);
  if (attribute.kind != Kind::Integer)
    bad_data(path(), fmt::format("attribute '{}' of {} is not an integer", name, object));
  return attribute.integer;
}

double Hdf5File::number_attribute(const std::string& name, const std::string& object) const {
  const Hdf5Attribute& attribute = state_->attribute(name, object);
  if (attribute.kind == Kind::Integer) return static_cast<double>(attribute.integer);
  if (attribute.kind != Kind::Number)
    bad_data(path(), fmt::format("attribute '{}' of {} is not a number", name, object));
  return attribute.number;
}

}  // namespace memring
