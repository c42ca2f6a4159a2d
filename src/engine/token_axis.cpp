// SPDX-License-Identifier: Apache-2.0
#include "engine/token_axis.h"

#include "kernels/elementwise/elementwise.h"

namespace memring {

int64_t TokenAxis::buffer_bytes(const ModelShape& m, DType dtype, int64_t batch, int64_t rows, bool backward) const {
  if (token_.size() == 1) return 0;
  if (block_ > 0) return GatherAttention::buffer_bytes(dtype, batch, m.heads, m.kv_heads, m.head_dim, rows, backward);
  return RingAttention::buffer_bytes(dtype, batch, m.kv_heads, m.head_dim, plan(rows), backward);
}

void TokenAxis::enter(const Layout& layout) {
  if (layout == layout_) return;
  layout_ = layout;
  const RingPlan split = plan(layout.rows());
  const std::vector<Row> all = layout.table();
  numbers_ = split.rows_of(token_.rank());
  rows_ = rows_at(all, numbers_);
  if (token_.size() == 1) return;
  block_ > 0 ? gathered_.enter(split, all) : ring_.enter(split, all);
}

int64_t TokenAxis::first_from(int64_t number) const {
  return std::lower_bound(numbers_.begin(), numbers_.end(), number) - numbers_.begin();
}

AttentionExecutor& TokenAxis::attention() {
  if (token_.size() == 1) return local_;
  if (block_ > 0) return gathered_;
  return ring_;
}

// A row is on one rank, so the sum over ranks only moves it.
void TokenAxis::collect(Queue& queue, View<> all, ConstView<> mine, std::span<const int32_t> wanted) {
  Elementwise::fill(queue, all, 0);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const int64_t here = first_from(wanted[i]);
    if (here == std::ssize(numbers_) || numbers_[static_cast<size_t>(here)] != wanted[i]) continue;
    for (int64_t b = 0; b < mine.dim(0); ++b)
      Elementwise::copy(queue, all.at(b).at(static_cast<int64_t>(i)), mine.at(b).at(here));
  }
  sum(queue, all);
}

void TokenAxis::gather(View<> data) {
  if (token_.size() == 1) return;
  std::vector<int64_t> bounds{0};
  for (int rank = 0; rank < token_.size(); ++rank) bounds.push_back(part_of(data.size(), token_.size(), rank).end);
  token_.all_gather_shards(data.reshaped({data.size()}), bounds);
}

}  // namespace memring
