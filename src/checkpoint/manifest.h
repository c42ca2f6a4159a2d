// Manifest: what a checkpoint's file holds, where in it, and the digests that prove it ("memring-checkpoint-1").
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/checkpoint.h"
#include "io/file.h"

namespace memring {

/// Digests are of blocks of this many bytes over the whole file (the last one is shorter), so they do not depend on how
/// many ranks wrote it.
constexpr int64_t kBlockBytes = int64_t{4} << 20;
constexpr int kManifestVersion = 1;
constexpr const char* kStateFile = "state.h5";
constexpr const char* kManifestFile = "manifest.json";

/// The three groups of datasets, and where each has a tensor's first byte in the file (-1 without elements).
constexpr std::array<const char*, 3> kGroups = {"params", "optimizer/m", "optimizer/v"};
using Places = std::array<int64_t, 3>;

struct Manifest {
  CheckpointInfo info;
  NamedNumbers state;
  DType stored = DType::F32;
  FlatBuffer layout;
  std::vector<Places> places;  ///< one for each entry of `layout`
  int64_t file_bytes = 0;
  std::vector<std::string> digests;  ///< one for each block
  std::string digest{};              ///< of the text it was parsed from

  int64_t blocks() const { return (file_bytes + kBlockBytes - 1) / kBlockBytes; }
};

/// An intact checkpoint that this program or this model cannot use: no reason to fall back to an older one.
class NotUsableHere : public Error {
 public:
  using Error::Error;
};

/// JSON text that ends with a digest of all the text before it.
std::string render_manifest(const Manifest&);
/// Appends that last field to the text of a JSON object (without its closing brace).
std::string seal_manifest(const std::string& body);

/// Throws Error(Data) naming `path` when the text is not a whole and consistent manifest, NotUsableHere when it is of a
/// newer format. The digest is checked first; that it ends the text holds for all formats.
Manifest parse_manifest(const std::string& text, const std::string& path);
/// The text of a checkpoint's manifest. Throws Error(Data) when there is none.
std::string manifest_text(const std::string& checkpoint);
CheckpointSummary summary_of(const Manifest&, const std::string& path);

/// A run of bytes of one tensor: where in the file, and where in a buffer that holds a range of the flat buffer.
struct Piece {
  int64_t file = 0, memory = 0, bytes = 0;
};
/// The pieces of one group that make up `range` of the flat buffer, in its order.
std::vector<Piece> pieces_of(const FlatBuffer& layout, const std::vector<Places>& places, int group, Range range,
                             int64_t element_bytes);

/// Digest of one block as the file holds it now. `buffer` has room for a block.
std::string read_block_digest(const File& file, int64_t file_bytes, int64_t block, std::vector<std::byte>& buffer);

/// Checks size and blocks [part.begin, part.end); returns at most `most` faults, in words. Throws Error(Io) when the
/// system refuses to read them: that says nothing about the bytes.
std::vector<std::string> check_blocks(const Manifest&, const std::string& checkpoint, Range part, size_t most,
                                      Progress* progress = nullptr);

}  // namespace memring
