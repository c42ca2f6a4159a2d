// SPDX-License-Identifier: Apache-2.0
#include "data/pack.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/handle.h"
#include "data/pack_sources.h"
#include "data/token_file.h"
#include "data/tokenizer.h"

namespace memring {
namespace {

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
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  Handle<DescriptorTraits> owned_;
};

}  // namespace

PackResult pack(std::span<const std::string> inputs, const std::string& out, const std::string& tokenizer_name,
                const std::function<void(const PackProgress&)>& progress) {
  const std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(tokenizer_name);
  PackSources sources = find_sources(inputs, out);
  PackResult result;
  std::error_code unknown;
  result.replaced = std::filesystem::exists(out, unknown);
  result.skipped = std::move(sources.skipped);
  result.repeated = std::move(sources.repeated);

  PackProgress state{0, 0, sources.total};
  std::vector<char> piece(size_t{1} << 20);
  std::vector<int32_t> ids;
  TokenFileWriter writer(out, tokenizer->name(), tokenizer->vocab());
  for (const std::string& path : sources.paths) {
    Reader reader(path);
    writer.begin_document();
    ++state.documents;
    for (bool first = true, last = false; !last; first = false) {
      const size_t bytes = reader.read(piece);
      if (first) expect_text(reader.path(), {piece.data(), bytes});  // standard input and pipes are looked at here only
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
