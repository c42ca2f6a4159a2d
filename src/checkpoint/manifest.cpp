// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/manifest.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/files.h"
#include "io/digest.h"

namespace memring {
namespace {

using Json = nlohmann::ordered_json;

/// More than any manifest needs (a million tensors), less than what would fill a machine's memory.
constexpr int64_t kMostManifestBytes = int64_t{512} << 20;
constexpr const char* kFormat = "memring-checkpoint-1";
constexpr const char* kDigestKey = ",\n \"digest\": \"";
constexpr const char* kEnd = "\"\n}\n";

std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span<const char>(text.data(), text.size()));
}

std::string digest_of_text(const std::string& body) { return digest_text(digest_of(bytes_of_text(body))); }
std::string ending(const std::string& digest) { return kDigestKey + digest + kEnd; }

[[noreturn]] void reject(const std::string& what) { throw Error(ExitCode::Data, what); }

const Json& field(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key)) reject(fmt::format("\"{}\" is missing", key));
  return object.at(key);
}

std::string text_field(const Json& object, const char* key) {
  const Json& value = field(object, key);
  if (!value.is_string()) reject(fmt::format("\"{}\" is no text", key));
  return value.get<std::string>();
}

int64_t integer(const Json& value, const char* what, int64_t least, int64_t most) {
  const bool fits =
      value.is_number_integer() &&
      !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t(std::numeric_limits<int64_t>::max()));
  const int64_t number = fits ? value.get<int64_t>() : 0;
  if (!fits || number < least || number > most)
    reject(fmt::format("\"{}\" is {}; an integer from {} to {} was expected", what, value.dump(), least, most));
  return number;
}

int64_t integer_field(const Json& object, const char* key, int64_t least = 0,
                      int64_t most = std::numeric_limits<int64_t>::max()) {
  return integer(field(object, key), key, least, most);
}

void expect_text(const Json& object, const char* key, const std::string& expected) {
  const std::string found = text_field(object, key);
  if (found != expected) reject(fmt::format("\"{}\" is \"{}\"; \"{}\" was expected", key, found, expected));
}

/// Names, shapes and places: consecutive in the flat buffer, inside the file.
void parse_tensors(const Json& tensors, Manifest& manifest) {
  if (!tensors.is_array()) reject("\"tensors\" is no list");
  const int64_t most = manifest.file_bytes / bytes_of(manifest.stored);
  std::set<std::string> names;
  for (const Json& tensor : tensors) {
    FlatEntry entry;
    entry.name = text_field(tensor, "name");
    if (!names.insert(entry.name).second) reject(fmt::format("tensor {} is listed twice", entry.name));
    const Json& extents = field(tensor, "shape");
    if (!extents.is_array() || extents.size() > Shape::kMaxRank)
      reject(fmt::format("{} has no valid shape", entry.name));
    std::vector<int64_t> shape;
    int64_t elements = 1;
    for (const Json& extent : extents) {
      shape.push_back(integer(extent, "shape", 0, most));
      if (__builtin_mul_overflow(elements, shape.back(), &elements) || elements > most)
        reject(fmt::format("{} has more elements than the file has room for", entry.name));
    }
    entry.shape = Shape(shape);
    entry.offset = integer_field(tensor, "offset", manifest.layout.size, manifest.layout.size);
    manifest.layout.size += elements;
    const int64_t last = manifest.file_bytes - elements * bytes_of(manifest.stored);
    manifest.places.push_back({});
    for (size_t group = 0; group < kGroups.size(); ++group)
      manifest.places.back()[group] = integer_field(tensor, kGroups[group], elements ? 0 : -1, last);
    manifest.layout.entries.push_back(std::move(entry));
    if (manifest.layout.size > most) reject("the tensors are larger than the file");
  }
}

NamedNumbers parse_state(const Json& state) {
  if (!state.is_object()) reject("\"state\" is no list of numbers");
  NamedNumbers numbers;
  for (const auto& [name, value] : state.items()) {
    if (value.is_boolean())
      numbers.set(name, value.get<bool>());
    else if (value.is_number_float())
      numbers.set(name, value.get<double>());
    else
      numbers.set(name, integer(value, name.c_str(), 0, std::numeric_limits<int64_t>::max()));
  }
  // The first checkpoints of this format do not say: their weights are finite, or they would not have been saved.
  if (!numbers.has("sound")) numbers.set("sound", numbers.get<int64_t>("skipped_in_row") == 0);
  (void)step_of(numbers);
  (void)is_sound(numbers);
  return numbers;
}

Manifest parse_body(const Json& root) {
  const Json& version = field(root, "format_version");
  if (version.is_number_integer() && version > kManifestVersion)
    throw NotUsableHere(ExitCode::Data,
                        fmt::format("is of format {} (memring {}); this program reads formats up to {}", version.dump(),
                                    root.value("version", "unknown"), kManifestVersion),
                        "Use the memring version that wrote it, or a newer one.");
  integer_field(root, "format_version", kManifestVersion, kManifestVersion);
  expect_text(root, "format", kFormat);
  if (const std::string order = text_field(root, "byte_order"); order != "little")
    throw NotUsableHere(ExitCode::Data, fmt::format("has byte order \"{}\"; this program reads \"little\"", order),
                        "Convert state.h5 on the machine that wrote it, or use a checkpoint of a little-endian one.");
  expect_text(root, "file", kStateFile);
  integer_field(root, "block_bytes", kBlockBytes, kBlockBytes);

  Manifest manifest;
  manifest.state = parse_state(field(root, "state"));

  CheckpointInfo& info = manifest.info;
  info.config = text_field(root, "config");
  info.identity = text_field(root, "identity");
  info.mesh = text_field(root, "mesh");
  info.isa = text_field(root, "isa");
  info.dtype = text_field(root, "dtype");
  info.version = text_field(root, "version");
  info.threads = static_cast<int>(integer_field(root, "threads", 1, std::numeric_limits<int>::max()));
  info.ranks = static_cast<int>(integer_field(root, "ranks", 1, std::numeric_limits<int>::max()));

  if (root.contains("source"))
    info.source = {text_field(root.at("source"), "path"), text_field(root.at("source"), "digest")};

  const std::string stored = text_field(root, "stored");
  if (stored == name_of(DType::F64))
    manifest.stored = DType::F64;
  else
    expect_text(root, "stored", name_of(DType::F32));
  manifest.file_bytes = integer_field(root, "file_bytes", 1, std::numeric_limits<int64_t>::max() - kBlockBytes);
  parse_tensors(field(root, "tensors"), manifest);

  const Json& digests = field(root, "digests");
  if (!digests.is_array() || static_cast<int64_t>(digests.size()) != manifest.blocks())
    reject(fmt::format("{} digests were expected for {} bytes", manifest.blocks(), manifest.file_bytes));
  for (const Json& digest : digests) {
    if (!digest.is_string()) reject("a digest is no text");
    manifest.digests.push_back(digest.get<std::string>());
  }
  return manifest;
}

/// "bytes 0 to 4194304 of <file> (params/a, params/b and 3 more)"
std::string block_text(const Manifest& manifest, const std::string& file, int64_t block) {
  const Range range{block * kBlockBytes, std::min(manifest.file_bytes, (block + 1) * kBlockBytes)};
  std::string names;
  int found = 0;
  for (size_t group = 0; group < kGroups.size(); ++group)
    for (size_t i = 0; i < manifest.places.size(); ++i) {
      const FlatEntry& entry = manifest.layout.entries[i];
      const int64_t begin = manifest.places[i][group];
      const int64_t end = begin + entry.shape.elements() * bytes_of(manifest.stored);
      if (begin >= range.end || end <= range.begin || begin == end) continue;
      if (found++ < 2) names += fmt::format("{}{}/{}", names.empty() ? "" : ", ", kGroups[group], entry.name);
    }
  if (found > 2) names += fmt::format(" and {} more", found - 2);
  return fmt::format("bytes {} to {} of {} ({})", range.begin, range.end, file, found ? names : "no tensor");
}

}  // namespace

std::string seal_manifest(const std::string& body) { return body + ending(digest_of_text(body)); }

std::string render_manifest(const Manifest& manifest) {
  const CheckpointInfo& info = manifest.info;
  Json state = Json::object();
  for (const NamedNumbers::Entry& entry : manifest.state)
    std::visit([&](auto number) { state[entry.name] = number; }, entry.value);
  Json tensors = Json::array();
  for (size_t i = 0; i < manifest.places.size(); ++i) {
    const FlatEntry& entry = manifest.layout.entries[i];
    Json tensor = {{"name", entry.name}, {"shape", entry.shape.extents()}, {"offset", entry.offset}};
    for (size_t group = 0; group < kGroups.size(); ++group) tensor[kGroups[group]] = manifest.places[i][group];
    tensors.push_back(std::move(tensor));
  }
  Json root = {{"format", kFormat},
               {"format_version", kManifestVersion},
               {"version", info.version},
               {"step", step_of(manifest.state)},
               {"state", std::move(state)},
               {"identity", info.identity},
               {"config", info.config},
               {"mesh", info.mesh},
               {"ranks", info.ranks},
               {"threads", info.threads},
               {"isa", info.isa},
               {"dtype", info.dtype},
               {"stored", name_of(manifest.stored)},
               {"byte_order", "little"},
               {"file", kStateFile},
               {"file_bytes", manifest.file_bytes},
               {"tensors", std::move(tensors)},
               {"block_bytes", kBlockBytes},
               {"digests", manifest.digests}};
  if (!info.source.path.empty()) root["source"] = {{"path", info.source.path}, {"digest", info.source.digest}};
  // A path in the configuration may be no UTF-8, which JSON has no way to hold: such bytes are replaced.
  std::string text = root.dump(1, ' ', false, Json::error_handler_t::replace);
  text.resize(text.size() - std::string("\n}").size());
  return seal_manifest(text);
}

Manifest parse_manifest(const std::string& text, const std::string& path) {
  const std::string hint = "Restore it from a copy, or use another checkpoint of that run.";
  const size_t tail = ending(digest_of_text({})).size();
  const std::string body = text.substr(0, text.size() - std::min(tail, text.size()));
  const std::string digest = digest_of_text(body);
  if (text.size() <= tail || text.substr(body.size()) != ending(digest))
    throw Error(ExitCode::Data, fmt::format("{} is damaged: it does not end with the digest of its text", path), hint);
  try {
    Manifest manifest = parse_body(Json::parse(text));
    manifest.digest = digest;
    return manifest;
  } catch (const NotUsableHere& error) {
    throw NotUsableHere(error.code(), fmt::format("{} {}", path, error.what()), error.hint());
  } catch (const std::exception& error) {
    throw Error(ExitCode::Data, fmt::format("{} is no valid manifest: {}", path, error.what()), hint);
  }
}

std::string manifest_text(const std::string& checkpoint) {
  const File file = File::open_read(checkpoint + "/" + kManifestFile);
  const int64_t size = file.size();
  if (size > kMostManifestBytes)
    throw Error(ExitCode::Data,
                fmt::format("{} has {} bytes; a manifest has at most {}", file.path(), size, kMostManifestBytes),
                "This is no checkpoint of memring, or it is damaged.");
  std::string text(static_cast<size_t>(size), '\0');
  file.read_at(0, std::as_writable_bytes(std::span<char>(text.data(), text.size())));
  return text;
}

CheckpointSummary summary_of(const Manifest& manifest, const std::string& path) {
  return {.path = path,
          .step = step_of(manifest.state),
          .sound = is_sound(manifest.state) && !is_doubted(path),
          .info = manifest.info,
          .state = manifest.state,
          .layout = manifest.layout,
          .stored = manifest.stored,
          .bytes = manifest.file_bytes,
          .digest = manifest.digest};
}

std::vector<Piece> pieces_of(const FlatBuffer& layout, const std::vector<Places>& places, int group, Range range,
                             int64_t element_bytes) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < places.size(); ++i) {
    const FlatEntry& entry = layout.entries[i];
    const int64_t begin = std::max(range.begin, entry.offset);
    const int64_t end = std::min(range.end, entry.offset + entry.shape.elements());
    if (begin >= end) continue;
    pieces.push_back({places[i][static_cast<size_t>(group)] + (begin - entry.offset) * element_bytes,
                      (begin - range.begin) * element_bytes, (end - begin) * element_bytes});
  }
  return pieces;
}

std::string read_block_digest(const File& file, int64_t file_bytes, int64_t block, std::vector<std::byte>& buffer) {
  const int64_t begin = block * kBlockBytes;
  const std::span<std::byte> bytes(buffer.data(), static_cast<size_t>(std::min(kBlockBytes, file_bytes - begin)));
  file.read_at(begin, bytes);
  return digest_text(digest_of(bytes));
}

std::vector<std::string> check_blocks(const Manifest& manifest, const std::string& checkpoint, Range part, size_t most,
                                      Progress* progress) {
  std::vector<std::string> faults;
  try {
    const File file = File::open_read(checkpoint + "/" + kStateFile);
    const int64_t size = file.size();
    if (size != manifest.file_bytes)
      return {fmt::format("{} has {} bytes; its manifest says {}", file.path(), size, manifest.file_bytes)};
    std::vector<std::byte> buffer(static_cast<size_t>(kBlockBytes));
    for (int64_t block = part.begin; block < part.end && faults.size() < most; ++block) {
      const std::string found = read_block_digest(file, size, block, buffer);
      advance(progress);
      const std::string& expected = manifest.digests[static_cast<size_t>(block)];
      if (found != expected)
        faults.push_back(fmt::format("{} have digest {}; the manifest says {}",
                                     block_text(manifest, file.path(), block), found, expected));
    }
  } catch (const Error& error) {
    if (error.code() != ExitCode::Data) throw;
    faults.push_back(error.what());
  }
  return faults;
}

}  // namespace memring
