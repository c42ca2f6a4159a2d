// The format "memring-tokens-1": root attributes format, tokenizer, vocab, digest_block (bytes of /tokens under one
// digest) and documents_digest; datasets as in token_file.h. The tokens are written while they come, at a fixed
// place of the temporary file; HDF5 lays its dataset over them at the end, when their number is known, and never
// touches them.
// SPDX-License-Identifier: Apache-2.0
#include "data/token_file.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "data/checked_blocks.h"
#include "io/digest.h"
#include "io/file.h"
#include "io/hdf5.h"
#include "io/unfinished_file.h"

namespace memring {
namespace {

constexpr const char* kFormat = "memring-tokens-1";
constexpr const char* kFamily = "memring-tokens-";
constexpr const char* kRemedy = "Make a token file with: memring pack TEXT... --out FILE.h5";
constexpr int64_t kBlock = int64_t{4} << 20;  // bytes under one digest
// Where /tokens starts once it is longer than a block: HDF5 aligns a dataset of this size or more to it, and what comes
// before is far smaller.
constexpr int64_t kTokensAt = int64_t{1} << 20;
constexpr int64_t kMaxVocab = int64_t{1} << 31;  // ids are int32

/// The smallest type that holds the ids.
Hdf5Type type_for(int64_t vocab) {
  if (vocab <= 256) return Hdf5Type::U8;
  return vocab <= 65536 ? Hdf5Type::U16 : Hdf5Type::U32;
}

template <class T>
std::span<const std::byte> bytes_of_all(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

std::string digest_of_documents(const std::vector<int64_t>& borders) {
  return digest_text(digest_of(bytes_of_all(borders)));
}

template <class T>
void narrow(std::byte* out, std::span<const int32_t> ids) {
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto id = static_cast<T>(ids[i]);
    std::memcpy(out + i * sizeof(T), &id, sizeof(T));
  }
}

template <class T>
void widen(std::span<int32_t> ids, const std::byte* in) {
  for (size_t i = 0; i < ids.size(); ++i) {
    T id;
    std::memcpy(&id, in + i * sizeof(T), sizeof(T));
    // A damaged id beyond int32 must stay outside every vocabulary.
    ids[i] = static_cast<int32_t>(std::min<uint32_t>(id, std::numeric_limits<int32_t>::max()));
  }
}

/// Where to write so that `path` gets the file: what a link points to. Throws where no file can come to lie there.
std::string destination(const std::string& path) {
  namespace fs = std::filesystem;
  const auto refuse = [&](const std::string& why, const std::string& hint) {
    throw Error(ExitCode::Io, fmt::format("cannot write {}: {}", path, why), hint);
  };
  constexpr int kMostLinks = 40;  // as Linux has it
  std::error_code error;
  fs::path target = path;
  for (int links = 0; fs::is_symlink(target, error); ++links) {
    if (links == kMostLinks) refuse("too many levels of symbolic links", "Choose another name for it.");
    const fs::path next = fs::read_symlink(target, error);
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  const fs::file_status status = fs::status(target, error);
  if (status.type() == fs::file_type::none) refuse(error.message(), "Choose another name for it.");
  if (fs::is_directory(status)) refuse("it is a folder", "Name a file inside it.");
  if (fs::exists(status) && !fs::is_regular_file(status))
    refuse("it is a pipe or a device", "Name a file: HDF5 is not written front to back.");
  const std::string folder = folder_of(target.string());
  const fs::file_status parent = fs::status(folder, error);
  if (fs::exists(parent) && !fs::is_directory(parent)) refuse(folder + " is a file", "Choose another folder.");
  if (!fs::is_directory(parent))
    refuse("there is no folder " + folder, fmt::format("Make it first: mkdir -p {}", folder));
  return target.string();
}

}  // namespace

struct TokenFileWriter::State {
  std::string path, tokenizer;
  UnfinishedFile unfinished;
  int64_t vocab = 0, tokens = 0;
  Hdf5Type type = Hdf5Type::U8;
  File file;
  std::vector<std::byte> block;  // the block being filled
  std::vector<uint64_t> digests;
  std::vector<int64_t> documents;

  /// Stores up to a block's worth of checked tokens; returns how many.
  size_t store(std::span<const int32_t> ids) {
    const auto width = static_cast<size_t>(bytes_of(type)), filled = block.size();
    const size_t count = std::min(ids.size(), (static_cast<size_t>(kBlock) - filled) / width);
    block.resize(filled + count * width);
    std::byte* out = block.data() + filled;
    switch (type) {
      case Hdf5Type::U8:
        narrow<uint8_t>(out, ids.first(count));
        break;
      case Hdf5Type::U16:
        narrow<uint16_t>(out, ids.first(count));
        break;
      default:
        narrow<uint32_t>(out, ids.first(count));
        break;
    }
    tokens += static_cast<int64_t>(count);
    return count;
  }
  void end_block(int64_t tokens_at) {
    file.write_at(tokens_at + static_cast<int64_t>(digests.size()) * kBlock, block);
    digests.push_back(digest_of(block));
    block.clear();
  }
};

TokenFileWriter::TokenFileWriter(const std::string& path, const std::string& tokenizer, int64_t vocab) {
  check(vocab > 0 && vocab <= kMaxVocab, fmt::format("a token file with a vocabulary of {}", vocab));
  const std::string target = destination(path);
  remove_unfinished(target);
  UnfinishedFile unfinished(unfinished_name(target));
  File file = File::create(unfinished.path());
  state_ = std::make_unique<State>(
      State{target, tokenizer, std::move(unfinished), vocab, 0, type_for(vocab), std::move(file), {}, {}, {}});
  state_->block.reserve(kBlock);
  // The structure comes first, so that the later laying-out only adds to it.
  Hdf5Writer structure = Hdf5Writer::create(state_->unfinished.path(), kTokensAt);
  structure.write_attribute("format", std::string(kFormat));
  structure.write_attribute("tokenizer", tokenizer);
  structure.write_attribute("vocab", vocab);
  structure.write_attribute("digest_block", kBlock);
  structure.close();
}

TokenFileWriter::~TokenFileWriter() = default;

void TokenFileWriter::begin_document() { state_->documents.push_back(state_->tokens); }

void TokenFileWriter::append(std::span<const int32_t> tokens) {
  check(!state_->documents.empty(), "tokens were appended before the first document began");
  State& state = *state_;
  uint32_t highest = 0;  // negative ids are higher than any vocabulary
  for (const int32_t token : tokens) highest = std::max(highest, static_cast<uint32_t>(token));
  if (highest >= state.vocab)
    check(false, fmt::format("tokenizer {} gave token {}; its vocabulary is {}", state.tokenizer,
                             static_cast<int32_t>(highest), state.vocab));
  while (!tokens.empty()) {
    tokens = tokens.subspan(state.store(tokens));
    if (static_cast<int64_t>(state.block.size()) == kBlock) state.end_block(kTokensAt);
  }
}

void TokenFileWriter::finish() {
  State& state = *state_;
  if (state.tokens == 0)
    throw Error(ExitCode::Data, fmt::format("there is no text for {}: all input is empty", state.path),
                "Give at least one file that is not empty.");
  state.documents.push_back(state.tokens);

  Hdf5Writer structure = Hdf5Writer::append(state.unfinished.path(), kTokensAt);
  const Hdf5Dataset tokens = structure.create_dataset("tokens", state.type, Shape{state.tokens});
  check(state.digests.empty() || tokens.offset == kTokensAt,
        fmt::format("HDF5 laid /tokens at byte {}; {} was expected", tokens.offset, kTokensAt));
  if (!state.block.empty()) state.end_block(tokens.offset);
  const int64_t documents = static_cast<int64_t>(state.documents.size()),
                digests = static_cast<int64_t>(state.digests.size());
  structure.write(structure.create_dataset("documents", Hdf5Type::I64, Shape{documents}),
                  bytes_of_all(state.documents));
  structure.write(structure.create_dataset("digests", Hdf5Type::U64, Shape{digests}), bytes_of_all(state.digests));
  structure.write_attribute("documents_digest", digest_of_documents(state.documents));
  structure.close();

  state.file.sync();
  state.file.close();
  rename_durably(state.unfinished.path(), state.path);
  state.unfinished.keep();
}

struct TokenFile::State {
  File file;
  std::string tokenizer, documents_digest;
  int64_t vocab = 0;
  Hdf5Dataset tokens, documents;
  std::unique_ptr<CheckedBlocks> blocks;  // of /tokens

  template <class T>
  std::vector<T> read_all(const Hdf5Dataset& dataset) const {
    std::vector<T> values(static_cast<size_t>(dataset.shape.elements()));
    file.read_at(dataset.offset, std::as_writable_bytes(std::span(values)));
    return values;
  }
  std::vector<std::string> faults_of(const std::vector<int64_t>& borders) const {
    std::vector<std::string> faults;
    if (const std::string found = digest_of_documents(borders); found != documents_digest)
      faults.push_back(fmt::format("/documents: digest {}, expected {}", found, documents_digest));
    const int64_t end = tokens.shape[0];
    if (borders.front() != 0 || borders.back() != end || !std::is_sorted(borders.begin(), borders.end()))
      faults.push_back(fmt::format("/documents: borders run from {} to {}; 0 to {} in ascending order was expected",
                                   borders.front(), borders.back(), end));
    return faults;
  }
};

namespace {

/// The dataset, when it has this type and one extent, lies in the file's bytes and holds something.
Hdf5Dataset expect_dataset(const Hdf5File& structure, const char* name, Hdf5Type type, int64_t file_size) {
  auto bad = [&](const std::string& finding) {
    throw Error(ExitCode::Data, fmt::format("token file {}: {}", structure.path(), finding),
                "The file is damaged or was made by another program: pack the text again.");
  };
  if (!structure.has(name)) bad(fmt::format("dataset /{} is missing", name));
  Hdf5Dataset dataset = structure.dataset(name);
  if (dataset.type != type || dataset.shape.rank() != 1)
    bad(fmt::format("dataset /{} is {} {}; {} with one extent was expected", name, name_of(dataset.type),
                    dataset.shape.text(), name_of(type)));
  const int64_t elements = dataset.shape[0];
  if (elements == 0) bad(fmt::format("dataset /{} is empty", name));
  // Divided rather than multiplied: a damaged extent may be near 2^64.
  if (dataset.offset < 0 || dataset.offset > file_size || elements < 0 ||
      elements > (file_size - dataset.offset) / bytes_of(type))
    bad(fmt::format("dataset /{} of {} numbers is not one contiguous range within the file's {} bytes", name,
                    grouped(elements), grouped(file_size)));
  return dataset;
}

}  // namespace

TokenFile::TokenFile(const std::string& path) {
  if (path.empty())
    throw Error(ExitCode::Usage, "data.path is not set: there is no token file",
                fmt::format("Set data.path. {}", kRemedy));
  const Hdf5File structure = Hdf5File::open(path, "token file", kRemedy);
  auto bad = [&](const std::string& finding, const std::string& hint) {
    throw Error(ExitCode::Data, fmt::format("token file {}: {}", path, finding), hint);
  };
  const std::string format = structure.has_attribute("format") ? structure.text_attribute("format") : "";
  if (!format.starts_with(kFamily))
    bad(format.empty() ? "it has no attribute 'format', so it is another kind of HDF5 file"
                       : fmt::format("it is a \"{}\"", format),
        kRemedy);
  if (format != kFormat)
    bad(fmt::format("its format is \"{}\"; this memring reads \"{}\"", format, kFormat),
        "The file was made by a newer memring: use that one, or pack the text again with this one.");

  state_ = std::make_unique<State>(State{File::open_read(path),
                                         structure.text_attribute("tokenizer"),
                                         structure.text_attribute("documents_digest"),
                                         structure.integer_attribute("vocab"),
                                         {},
                                         {},
                                         {}});
  const int64_t size = state_->file.size(), vocab = state_->vocab, block = structure.integer_attribute("digest_block");
  if (vocab <= 0 || vocab > kMaxVocab)
    bad(fmt::format("its attribute 'vocab' is {}; 1 to {} was expected", vocab, kMaxVocab), kRemedy);
  if (block != kBlock) bad(fmt::format("its digests cover {} bytes each; {} was expected", block, kBlock), kRemedy);
  state_->tokens = expect_dataset(structure, "tokens", type_for(vocab), size);
  state_->documents = expect_dataset(structure, "documents", Hdf5Type::I64, size);
  const Hdf5Dataset digests = expect_dataset(structure, "digests", Hdf5Type::U64, size);
  const int64_t blocks = (state_->tokens.bytes() + kBlock - 1) / kBlock;
  if (digests.shape[0] != blocks || state_->documents.shape[0] < 2)
    bad(fmt::format("{} digests and {} document borders do not fit {} tokens", digests.shape[0],
                    state_->documents.shape[0], grouped(state_->tokens.shape[0])),
        kRemedy);
  state_->blocks = std::make_unique<CheckedBlocks>(state_->file, state_->tokens.offset, state_->tokens.bytes(), kBlock,
                                                   state_->read_all<uint64_t>(digests));
}

TokenFile::~TokenFile() = default;
TokenFile::TokenFile(TokenFile&&) noexcept = default;

const std::string& TokenFile::path() const { return state_->file.path(); }
int64_t TokenFile::tokens() const { return state_->tokens.shape[0]; }
int64_t TokenFile::documents() const { return state_->documents.shape[0] - 1; }
int64_t TokenFile::vocab() const { return state_->vocab; }
const std::string& TokenFile::tokenizer() const { return state_->tokenizer; }

std::string TokenFile::digest() const {
  Digest digest;
  digest.add(bytes_of_all(state_->blocks->digests()));
  digest.add(state_->documents_digest);
  return digest.text();
}

void TokenFile::read(int64_t begin, std::span<int32_t> tokens) const {
  const auto count = static_cast<int64_t>(tokens.size());
  check(begin >= 0 && count <= this->tokens() && begin <= this->tokens() - count,
        fmt::format("tokens {} to {} of {}, which holds {}", begin, begin + count, path(), this->tokens()));
  std::array<std::byte, 1 << 16> bytes;
  const int64_t width = bytes_of(state_->tokens.type), most = static_cast<int64_t>(bytes.size()) / width;
  if (count > 0) state_->blocks->expect_intact(state_->file, begin * width, (begin + count) * width);
  for (int64_t done = 0; done < count;) {
    const int64_t now = std::min(most, count - done);
    state_->file.read_at(state_->tokens.offset + (begin + done) * width,
                         std::span(bytes).first(static_cast<size_t>(now * width)));
    const auto out = tokens.subspan(static_cast<size_t>(done), static_cast<size_t>(now));
    switch (state_->tokens.type) {
      case Hdf5Type::U8:
        widen<uint8_t>(out, bytes.data());
        break;
      case Hdf5Type::U16:
        widen<uint16_t>(out, bytes.data());
        break;
      default:
        widen<uint32_t>(out, bytes.data());
        break;
    }
    done += now;
  }
}

std::vector<int64_t> TokenFile::document_borders() const {
  std::vector<int64_t> borders = state_->read_all<int64_t>(state_->documents);
  if (const auto faults = state_->faults_of(borders); !faults.empty())
    throw Error(ExitCode::Data, fmt::format("token file {} is damaged: {}", path(), faults.front()),
                "Copy it again, or pack the text again.");
  return borders;
}

void TokenFile::expect_unchanged(const std::function<void()>& progress) const {
  state_->blocks->expect_unchanged(state_->file, progress);
}

std::vector<std::string> TokenFile::verify() const {
  std::vector<std::string> faults = state_->blocks->faults(state_->file);
  for (std::string& fault : state_->faults_of(state_->read_all<int64_t>(state_->documents)))
    faults.push_back(std::move(fault));
  return faults;
}

}  // namespace memring
