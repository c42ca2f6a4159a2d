// TokenAxis: the ranks that hold the rows of a cell between them; where memories and layers, which know no ranks, meet
// the ring. With one rank all rows are here and nothing is sent.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "dist/mesh_arithmetic.h"
#include "dist/token_attention.h"
#include "engine/token_split.h"
#include "memory/layout.h"
#include "memory/row_axis.h"

namespace memring {

class TokenAxis final : public RowAxis {
 public:
  /// `block`: rows of a canonical block (Queue::Options::block), or 0.
  TokenAxis(Transport& token, int64_t block)
      : token_(token), split_{token.size(), token.rank(), block}, attention_(make_token_attention(token, block > 0)) {}

  const TokenSplit& split() const { return split_; }
  bool shared() const { return token_.size() > 1; }
  void allocate(const Queue& queue, int64_t bytes) { attention_->allocate(queue, bytes); }

  void note_in(Progress& progress) { attention_->note_in(progress); }

  /// The layout of the cell that comes next.
  void enter(const Queue&, const Layout&);
  const Layout& layout() const { return layout_; }               ///< of that cell
  const RowTable& rows() const { return rows_; }                 ///< those that are here, in order
  const RowTable& past() const { return past_; }                 ///< the layout's keys of earlier segments
  std::span<const int32_t> numbers() const { return numbers_; }  ///< theirs in the layout, ascending
  int64_t first_from(int64_t number) const;                      ///< the first row here with this number or more
  int64_t first_text() const { return first_from(layout_.front); }
  AttentionExecutor& attention() { return *attention_; }

  void collect(Queue&, View<> all, Range wanted, ConstView<> mine, std::span<const int32_t> numbers) override;
  void sum(Queue& queue, View<> partial) override { token_.all_reduce_sum(queue, partial); }
  /// Each rank has its near-equal part of the flat `data`; afterwards all have all of it. (States travel that way.)
  void gather(Queue&, View<> data);
  Range share(int64_t size) const { return part_of(size, token_.size(), token_.rank()); }

 private:
  Transport& token_;
  TokenSplit split_;
  std::unique_ptr<TokenAttention> attention_;
  Layout layout_;
  RowStore store_;
  RowTable rows_, past_;
  std::vector<int32_t> numbers_;
};

}  // namespace memring
