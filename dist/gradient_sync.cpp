// The three exchanges of an optimizer step: gradients and sums, the norm, the updated weights.
// SPDX-License-Identifier: Apache-2.0
#include "dist/gradient_sync.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "kernels/exact_sum/exact_sum.h"

namespace memring {
namespace {

// Row r is rank r's `mine`.
std::vector<double> gathered(Communicator& world, std::span<const double> mine) {
  const auto count = static_cast<int64_t>(mine.size());
  std::vector<double> all(static_cast<size_t>(world.size() * count));
  world.all_gather(View<double>(all.data(), {world.size(), count}), ConstView<double>(mine.data(), {count}));
  return all;
}

}  // namespace

GradientSync::GradientSync(Mesh& mesh, int64_t parameters, Order order, int64_t bucket)
    : world_(mesh.world()), transport_(mesh.world_transport()), order_(order), bounds_{0}, bucket_(bucket) {
  const int64_t alignment = order == Order::None ? kNormBlock : kAlignment;
  const int64_t blocks = (parameters + alignment - 1) / alignment;
  for (int rank = 0; rank < world_.size(); ++rank)
    bounds_.push_back(std::min(parameters, part_of(blocks, world_.size(), rank).end * alignment));
}

SpaceBytes GradientSync::bytes_beside_device(int64_t parameters, DType dtype, int ranks, int64_t bucket) {
  Arena staged;
  const int times = ranks == 1            ? 0
                    : parameters < bucket ? 1
                                          : 2;  // one bucket's message is as large as that of weights
  for (int time = 0; time < times; ++time) staged.take(dtype, {parameters});
  return SquaredNormReader::bytes_beside_device() + SpaceBytes{staged.peak(), 0};
}

Range GradientSync::shard() const {
  const auto rank = static_cast<size_t>(world_.rank());
  return {bounds_[rank], bounds_[rank + 1]};
}

void GradientSync::send(Queue& queue, View<> sums, Range range) {
  std::vector<int64_t> bounds;
  for (const int64_t bound : bounds_) bounds.push_back(std::clamp(bound, range.begin, range.end) - range.begin);
  under_way_.push_back(transport_.reduce_to_owners(queue, sums.rows(range.begin, range.size()), bounds));
}

void GradientSync::start(Queue& queue, View<> sums, Range range) {
  const Range before = open_.size() > 0 ? open_ : started_;
  check(before.size() == 0 || range.end == before.begin,
        fmt::format("gradients [{}, {}) start on their way behind [{}, {})", range.begin, range.end, before.begin,
                    before.end));
  open_ = {range.begin, open_.size() > 0 ? open_.end : range.end};
  if (open_.size() < bucket_) return;
  started_ = {open_.begin, started_.size() > 0 ? started_.end : open_.end};
  send(queue, sums, std::exchange(open_, {}));
}

void GradientSync::reduce_all(Queue& queue, View<> sums) {
  for (const Range rest : {Range{0, started_.begin}, Range{started_.end, bounds_.back()}}) send(queue, sums, rest);
  for (Transfer& bucket : under_way_) bucket.join(queue);
  under_way_.clear();
  started_ = open_ = {};
}

std::vector<double> GradientSync::squared_norms(Queue& queue, ConstView<> shard) {
  if (order_ == Order::None) return SquaredNorm::of_blocks(queue, shard, kNormBlock);
  return {norm_.read(queue, shard)};
}

// Ranks add up their shards; or, in no order of ranks, all add up the same blocks.
double GradientSync::sum_over_ranks(Queue& queue, std::vector<double> of_shard) {
  std::vector<double> squares;
  if (order_ == Order::OfRanks) {
    squares = gathered(world_, of_shard);
  } else {
    std::vector<int64_t> bounds;
    for (const int64_t bound : bounds_) bounds.push_back((bound + kNormBlock - 1) / kNormBlock);
    squares.resize(static_cast<size_t>(bounds.back()));
    std::copy(of_shard.begin(), of_shard.end(), squares.begin() + bounds[static_cast<size_t>(world_.rank())]);
    transport_.all_gather_shards(queue, View<double>(squares.data(), {bounds.back()}), bounds).join(queue);
  }
  return std::accumulate(squares.begin(), squares.end(), 0.0);
}

ReducedStep GradientSync::reduce(Queue& queue, View<> sums, View<> gradients, const std::function<StepSums()>& ask) {
  expect_shape(sums, {bounds_.back()}, "gradients");
  expect_shape(gradients, {bounds_.back()}, "gradients");
  reduce_all(queue, sums);
  const View<> own = gradients.rows(shard().begin, shard().size());
  if (sums.dtype() == DType::Exact)
    ExactSum::round(queue, own, Write::Overwrite, sums.rows(shard().begin, shard().size()));

  const std::vector<double> norms = squared_norms(queue, own);
  const StepSums local = ask();
  std::vector<double> mine{local.nll,          local.text_nll,     local.targets,          local.tokens,
                           double(local.stop), double(local.save), double(local.time_over)};
  const size_t fixed = mine.size();
  mine.insert(mine.end(), local.diagnostics.values.begin(), local.diagnostics.values.end());
  const std::vector<double> all = gathered(world_, mine);
  ReducedStep step;
  step.sums.diagnostics = Diagnostics(local.diagnostics.declared);
  for (size_t row = 0; row < all.size(); row += mine.size()) {
    step.sums.nll += all[row];
    step.sums.text_nll += all[row + 1];
    step.sums.targets += all[row + 2];
    step.sums.tokens += all[row + 3];
    step.sums.stop |= all[row + 4] != 0;
    step.sums.save |= all[row + 5] != 0;
    step.sums.time_over |= all[row + 6] != 0;
    step.sums.diagnostics.combine(std::span(all).subspan(row + fixed, mine.size() - fixed));
  }

  const double norm_of_sum = std::sqrt(sum_over_ranks(queue, norms));
  step.norm = step.sums.targets > 0 ? norm_of_sum / step.sums.targets : 0;
  step.finite = std::isfinite(norm_of_sum) && std::isfinite(step.sums.nll);
  return step;
}

void GradientSync::gather(Queue& queue, View<> weights) {
  expect_shape(weights, {bounds_.back()}, "weights");
  transport_.all_gather_shards(queue, weights, bounds_).join(queue);
}

}  // namespace memring
