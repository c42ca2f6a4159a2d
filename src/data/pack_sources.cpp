// SPDX-License-Identifier: Apache-2.0
#include "data/pack_sources.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/handle.h"

namespace memring {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

/// A kind of file that is known by its first bytes.
struct Format {
  std::string_view magic, name, unpack;
};
constexpr std::array kFormats = {
    Format{"\x89HDF\r\n\x1a\n"sv, "HDF5", ""},
    Format{"\x1f\x8b"sv, "compressed (gzip)", "zcat"},
    Format{"\x28\xb5\x2f\xfd"sv, "compressed (zstd)", "zstdcat"},
    Format{"\xfd\x37zXZ\0"sv, "compressed (xz)", "xzcat"},
    Format{"BZh91AY&SY"sv, "compressed (bzip2)", "bzcat"},
    Format{"\x04\x22\x4d\x18"sv, "compressed (lz4)", "lz4cat"},
    Format{"PK\x03\x04"sv, "an archive (zip)", "unzip -p"},
    Format{"7z\xbc\xaf\x27\x1c"sv, "an archive (7z)", "7z x -so"},
};
constexpr size_t kMagicBytes = 16;  // more than any of them has

/// What a document with this beginning is instead of text; null: text, for all that is known.
const Format* format_of(std::string beginning) {
  // bzip2 writes its level, 1 to 9, as the fourth byte.
  if (beginning.size() > 3 && beginning.starts_with("BZh") && beginning[3] >= '1' && beginning[3] <= '9')
    beginning[3] = '9';
  const auto* const found = std::find_if(kFormats.begin(), kFormats.end(),
                                         [&](const Format& format) { return beginning.starts_with(format.magic); });
  return found == kFormats.end() ? nullptr : found;
}

/// What programs leave beside a text, known by its name; empty: nothing of that kind.
std::string_view left_by(const std::string& name) {
  constexpr std::array kVersions = {".git"sv, ".hg"sv, ".svn"sv, ".bzr"sv};
  if (std::find(kVersions.begin(), kVersions.end(), name) != kVersions.end()) return "version control";
  const bool swap = name.starts_with(".") && name.size() > 5 && name[name.size() - 4] == '.' &&
                    name.compare(name.size() - 3, 2, "sw") == 0;
  const bool emacs = name.size() > 2 && ((name.front() == '#' && name.back() == '#') || name.starts_with(".#"));
  if (swap || emacs || (name.size() > 1 && name.back() == '~')) return "an editor's backup";
  return {};
}

std::string name_of_path(const std::string& path) {
  const fs::path normal = fs::path(path).lexically_normal();
  return (normal.has_filename() ? normal : normal.parent_path()).filename().string();
}

std::string beginning_of(const std::string& path) {
  const Handle<DescriptorTraits> file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string bytes(kMagicBytes, '\0');
  const ssize_t got = file ? ::pread(file.get(), bytes.data(), bytes.size(), 0) : -1;
  if (got < 0) cannot_read(path, std::strerror(errno));
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

bool same_file(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

void add_folder(const std::string& folder, const std::string& out, PackSources& sources) {
  std::error_code error;
  std::vector<std::string> files;
  std::string path = folder;
  fs::recursive_directory_iterator entry(folder, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    path = entry->path().string();
    std::error_code unknown;
    const fs::file_status status = entry->status(unknown);  // of what a link points to
    const auto skip = [&](std::string_view reason) { sources.skipped.push_back(fmt::format("{} ({})", path, reason)); };
    if (const auto program = left_by(entry->path().filename().string()); !program.empty()) {
      skip(program);
      entry.disable_recursion_pending();
    } else if (fs::is_directory(status)) {
      if (entry->is_symlink(unknown)) skip("a link to a folder");
    } else if (!fs::is_regular_file(status)) {
      skip(fs::exists(status) ? "not a regular file" : "a link to nothing");
    } else if (same_file(path, out)) {
      skip("the output");
    } else if (const Format* format = format_of(beginning_of(path))) {
      skip(format->name);
    } else {
      files.push_back(path);
    }
  }
  if (error) cannot_read(path, error.message());
  std::sort(files.begin(), files.end());  // std::string compares as unsigned bytes
  sources.paths.insert(sources.paths.end(), files.begin(), files.end());
}

void add_input(const std::string& input, const std::string& out, PackSources& sources) {
  std::error_code error;
  const fs::file_status status = fs::status(input, error);
  if (!fs::exists(status)) {
    if (error && status.type() == fs::file_type::none) cannot_read(input, error.message());
    throw Error(ExitCode::Data, fmt::format("input {} does not exist", input), "Check the path.");
  }
  if (!fs::is_directory(status) && same_file(input, out))
    throw Error(ExitCode::Usage, fmt::format("{} is both input and output", input), "Choose another name for --out.");
  if (const auto program = left_by(name_of_path(input)); !program.empty())
    throw Error(ExitCode::Data, fmt::format("input {} is no text, by its name: it belongs to {}", input, program),
                "Leave it out, or pack a copy under another name.");
  if (fs::is_directory(status)) return add_folder(input, out, sources);
  if (fs::is_regular_file(status)) expect_text(input, beginning_of(input));  // what a pipe gives, it gives once
  sources.paths.push_back(input);
}

void find_repeated(PackSources& sources) {
  std::map<std::pair<dev_t, ino_t>, std::string> seen;
  for (const std::string& path : sources.paths) {
    struct stat status {};
    if (path == "-" || ::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const auto [first, fresh] = seen.emplace(std::pair(status.st_dev, status.st_ino), path);
    if (!fresh)
      sources.repeated.push_back(first->second == path ? fmt::format("{} is given more than once", path)
                                                       : fmt::format("{} is the same file as {}", path, first->second));
  }
}

}  // namespace

void cannot_read(const std::string& path, const std::string& why) {
  throw Error(ExitCode::Io, fmt::format("cannot read {}: {}", path, why),
              "Check its permissions, or leave it out: memring packs everything it is given or nothing.");
}

void expect_text(const std::string& path, std::string_view beginning) {
  const Format* format = format_of(std::string(beginning.substr(0, kMagicBytes)));
  if (!format) return;
  throw Error(ExitCode::Data, fmt::format("input {} is {}, not text", path, format->name),
              format->unpack.empty()
                  ? "Give the text that it was made from."
                  : fmt::format("Unpack it first, for example: {} FILE | memring pack - --out ...", format->unpack));
}

PackSources find_sources(std::span<const std::string> inputs, const std::string& out) {
  PackSources sources;
  for (const std::string& input : inputs) {
    if (input != "-") {
      add_input(input, out, sources);
      continue;
    }
    if (std::count(inputs.begin(), inputs.end(), "-") > 1)
      throw Error(ExitCode::Usage, "standard input (-) is given more than once",
                  "Give it once: it can be read only once.");
    sources.paths.push_back(input);
  }
  std::sort(sources.skipped.begin(), sources.skipped.end());
  find_repeated(sources);
  for (const std::string& path : sources.paths) {
    std::error_code unknown;  // pipes have no size
    const auto size = path == "-" ? 0 : fs::file_size(path, unknown);
    if (path == "-" || unknown) {
      sources.total = -1;
      break;
    }
    sources.total += static_cast<int64_t>(size);
  }
  return sources;
}

}  // namespace memring
