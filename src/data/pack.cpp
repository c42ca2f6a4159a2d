// SPDX-License-Identifier: Apache-2.0
#include "data/pack.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "io/file.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

struct Sources {
  std::vector<std::string> paths;
  std::vector<std::string> skipped;
  int64_t total = 0;
};

[[noreturn]] void cannot_read(const std::string& path, const std::string& why) {
  throw Error(ExitCode::Io, fmt::format("cannot read {}: {}", path, why),
              "Check its permissions, or leave it out: memring packs everything it is given or nothing.");
}

bool same_file(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return fs::equivalent(a, b, ignored);
}

void add_folder(const std::string& folder, const std::string& out, Sources& sources) {
  std::error_code error;
  std::vector<std::string> files;
  std::string path = folder;
  fs::recursive_directory_iterator entry(folder, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    path = entry->path().string();
    std::error_code unknown;
    const fs::file_status status = entry->status(unknown);  // of what a link points to
    if (fs::is_directory(status)) {
      if (entry->is_symlink(unknown)) sources.skipped.push_back(path + " (a link to a folder)");
    } else if (!fs::is_regular_file(status)) {
      sources.skipped.push_back(path + (fs::exists(status) ? " (not a regular file)" : " (a link to nothing)"));
    } else if (same_file(path, out)) {
      sources.skipped.push_back(path + " (the output)");
    } else {
      files.push_back(path);
    }
  }
  if (error) cannot_read(path, error.message());
  std::sort(files.begin(), files.end());  // std::string compares as unsigned bytes
  sources.paths.insert(sources.paths.end(), files.begin(), files.end());
}

Sources find_sources(std::span<const std::string> inputs, const std::string& out) {
  Sources sources;
  for (const std::string& input : inputs) {
    if (input == "-") {
      if (std::count(inputs.begin(), inputs.end(), "-") > 1)
        throw Error(ExitCode::Usage, "standard input (-) is given more than once",
                    "Give it once: it can be read only once.");
      sources.paths.push_back(input);
      continue;
    }
    std::error_code error;
    const fs::file_status status = fs::status(input, error);
    if (!fs::exists(status)) {
      if (error && status.type() == fs::file_type::none) cannot_read(input, error.message());
      throw Error(ExitCode::Data, fmt::format("input {} does not exist", input), "Check the path.");
    }
    if (fs::is_directory(status)) {
      add_folder(input, out, sources);
    } else if (same_file(input, out)) {
      throw Error(ExitCode::Usage, fmt::format("{} is both input and output", input), "Choose another name for --out.");
    } else {
      sources.paths.push_back(input);
    }
  }
  std::sort(sources.skipped.begin(), sources.skipped.end());
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

/// The bytes of one document, piece by piece; files are read to their end, so pipes work too.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path == "-" ? "standard input" : path) {
    if (path == "-") return;
    owned_ = Handle<DescriptorTraits>(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!owned_) cannot_read(path_, std::strerror(errno));
  }
  /// Fills the buffer up to the end of the document; fewer bytes than its size mean the end.
  size_t read(std::span<char> buffer) {
    size_t filled = 0;
    while (filled < buffer.size()) {
      const ssize_t got = ::read(owned_ ? owned_.get() : STDIN_FILENO, buffer.data() + filled, buffer.size() - filled);
      const int reason = errno;
      if (got < 0 && reason == EINTR) continue;
      if (got < 0) cannot_read(path_, std::strerror(reason));
      if (got == 0) break;
      filled += static_cast<size_t>(got);
    }
    return filled;
  }

 private:
  std::string path_;
  Handle<DescriptorTraits> owned_;
};

}  // namespace

PackResult pack(std::span<const std::string> inputs, const std::string& out, const std::string& tokenizer_name,
                const std::function<void(const PackProgress&)>& progress) {
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(tokenizer_name);
  Sources sources = find_sources(inputs, out);
  PackResult result;
  std::error_code unknown;
  result.replaced = fs::exists(out, unknown);
  result.skipped = std::move(sources.skipped);

  PackProgress state{0, 0, sources.total};
  std::vector<char> piece(size_t{1} << 20);
  std::vector<int32_t> ids;
  TokenFileWriter writer(out, tokenizer->name(), tokenizer->vocab());
  for (const std::string& path : sources.paths) {
    Reader reader(path);
    writer.begin_document();
    ++state.documents;
    for (bool last = false; !last;) {
      const size_t bytes = reader.read(piece);
      last = bytes < piece.size();
      ids.clear();
      tokenizer->encode({piece.data(), bytes}, last, ids);
      writer.append(ids);
      state.bytes += static_cast<int64_t>(bytes);
      progress(state);
    }
  }
  writer.finish();

  const TokenFile written(out);
  result.documents = written.documents();
  result.tokens = written.tokens();
  result.bytes = state.bytes;
  result.digest = written.digest();
  return result;
}

}  // namespace memring
