// Tokenizers: from text to ids. `bytes` is here; SentencePiece and tokenizer.json come behind the same interface.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace memring {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual const char* name() const = 0;
  virtual int64_t vocab() const = 0;  ///< ids are in [0, vocab)
  /// Appends the ids of the next piece of a document. A tokenizer may hold back the end of a piece until it has seen
  /// more; `last` gives everything out and begins a new document. How a document is cut into pieces never changes its
  /// ids.
  virtual void encode(std::string_view piece, bool last, std::vector<int32_t>& ids) = 0;
};

/// "bytes": id = byte, no special ids. Throws Error(Usage) that lists the known names.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);

}  // namespace memring
