// SPDX-License-Identifier: Apache-2.0
#include "engine/token_axis.h"

#include <algorithm>

#include "kernels/elementwise/elementwise.h"
#include "kernels/rows/rows.h"

namespace memring {

void TokenAxis::enter(const Queue& queue, const Layout& layout) {
  if (layout == layout_) return;
  layout_ = layout;
  const RingPlan split = split_.plan(layout.rows());
  const std::vector<Row> all = layout.table();
  numbers_ = split.rows_of(token_.rank());
  store_.next_layout(queue);
  rows_ = store_.add(queue, rows_at(all, numbers_));
  past_ = layout.past_keys() > 0 ? store_.add(queue, layout.past_table()) : RowTable();
  attention_->enter(queue, split, all);
}

int64_t TokenAxis::first_from(int64_t number) const {
  return std::lower_bound(numbers_.begin(), numbers_.end(), number) - numbers_.begin();
}

// A row is on one rank, so the sum over ranks only moves it.
void TokenAxis::collect(Queue& queue, View<> all, Range wanted, ConstView<> mine, std::span<const int32_t> numbers) {
  std::vector<int32_t> to, from;
  for (auto at = std::lower_bound(numbers.begin(), numbers.end(), wanted.begin);
       at != numbers.end() && *at < wanted.end; ++at) {
    to.push_back(static_cast<int32_t>(*at - wanted.begin));
    from.push_back(static_cast<int32_t>(at - numbers.begin()));
  }
  if (std::ssize(to) < wanted.size()) Elementwise::fill(queue, all, 0);
  MoveRows::run(queue, all, to, Write::Overwrite, mine, from);
  sum(queue, all);
}

void TokenAxis::gather(Queue& queue, View<> data) {
  if (token_.size() == 1) return;
  std::vector<int64_t> bounds{0};
  for (int rank = 0; rank < token_.size(); ++rank) bounds.push_back(part_of(data.size(), token_.size(), rank).end);
  token_.all_gather_shards(queue, data.reshaped({data.size()}), bounds).join(queue);
}

}  // namespace memring
