// Loader: from a step number to the tokens of that step, a pure function of (file, seed, step): the same on any mesh
// and after any restart, and nothing needs to be saved.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "data/token_file.h"
#include "data/token_source.h"

namespace memring {

/// The token file is cut into N = (tokens - 1) / length sequences; sample i of epoch e is sequence permuted(i, N, seed,
/// e). Step s takes samples s * batch ... s * batch + batch - 1, going on through epochs.
class Loader {
 public:
  struct Options {
    int64_t batch = 1, length = 1, vocab = 256;
    uint64_t seed = 1;
  };
  /// Throws Error(Data) when the file holds less than one sequence, or ids outside [0, vocab) by its own word.
  Loader(TokenFile file, Options);
  std::unique_ptr<TokenSource> at(int64_t step) const;
  int64_t sequences() const;   ///< N
  std::string digest() const;  ///< of the token file's content, wherever it lies

  /// For evaluation: sequences [first, first + count) in file order.
  std::unique_ptr<TokenSource> in_order(int64_t first, int64_t count) const;

 private:
  std::shared_ptr<const TokenFile> file_;
  Options options_;
};

}  // namespace memring
