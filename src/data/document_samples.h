// DocumentSamples: the dataset of a token file whose samples come from long documents, some tokens of each, as the
// methods that stretch positions choose them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/loader.h"
#include "data/positions.h"

namespace memring {

/// Documents of more tokens than the window are cut into pieces of at most `most` (0: the policy's target); a rest that
/// is shorter than the window is left out. A sample has `window` tokens of one piece, as Positions::tokens chooses
/// them; the target of the last of a run is the first of the next, and of the very last the token behind it in the
/// document, if there is one. shuffled_batch() deals pieces to steps. Evaluation reads the plain text, and in_order()
/// is Error(Internal).
class DocumentSamples final : public Dataset {
 public:
  /// Throws Error(Data) when no document is longer than the window, naming the longest.
  DocumentSamples(Loader text, Positions positions, int64_t most);

  std::unique_ptr<TokenSource> at(int64_t step, const SequenceShape&) const override;
  std::unique_ptr<TokenSource> in_order(int64_t first, int64_t count, const SequenceShape&) const override;
  int64_t sequences() const override { return std::ssize(pieces_); }
  int64_t fewest_segments() const override { return 1; }
  std::string digest() const override { return text_.digest(); }
  void expect_unchanged(const std::function<void()>& progress) const override { text_.expect_unchanged(progress); }
  std::string description() const override;

 private:
  struct Piece {
    Range tokens;          ///< of the file
    int64_t document_end;  ///< in it
  };

  Loader text_;
  Positions positions_;
  std::vector<Piece> pieces_;
  int64_t documents_ = 0;  ///< that are long enough
};

}  // namespace memring
