// Loader: the dataset of a token file, shuffled by a pure function of (file, seed, step).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/token_file.h"

namespace memring {

/// Numbers of the sequences of a step's batch, of `count` that there are: sample i of epoch e is permuted(i, count,
/// seed, e), and step s takes samples s * batch ... s * batch + batch - 1, going on through epochs.
std::vector<int64_t> shuffled_batch(int64_t step, int64_t batch, int64_t count, uint64_t seed);

/// Reads tokens. Throws Error(Data) for an id outside the model's vocabulary.
void read_known(const TokenFile&, int64_t vocab, int64_t begin, std::span<int32_t> tokens);

/// The token file is cut into N = (tokens - 1) / length sequences, which shuffled_batch() deals to steps. Where a
/// shorter shape is asked for, a sequence is its beginning. What is left behind sequence N - 1 is the tail, sequence N
/// of in_order().
class Loader final : public Dataset {
 public:
  struct Options {
    int64_t batch = 1, length = 1, vocab = 256;
    uint64_t seed = 1;
  };
  /// Throws Error(Data) when the file holds less than one sequence, or ids outside [0, vocab) by its own word.
  Loader(TokenFile file, Options);
  std::unique_ptr<TokenSource> at(int64_t step, const SequenceShape&) const override;
  std::unique_ptr<TokenSource> in_order(int64_t first, int64_t count, const SequenceShape&) const override;
  std::string digest() const override;
  void expect_unchanged(const std::function<void()>& progress) const override;
  std::string description() const override;
  int64_t sequences() const override;  ///< N
  int64_t tail() const override { return file_->tokens() - 1 - sequences() * options_.length; }
  int64_t tokens() const override { return file_->tokens(); }
  int64_t fewest_segments() const override { return 1; }
  std::shared_ptr<const TokenFile> file() const { return file_; }
  const Options& options() const { return options_; }

 private:
  std::shared_ptr<const TokenFile> file_;
  Options options_;
};

}  // namespace memring
