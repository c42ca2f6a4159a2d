// The claim that run.deterministic = strict rests on, for tests: with canonical blocks (Queue::Options::block) the bits
// of an operator do not depend on which rows a call holds, nor on threads.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include "op_test.h"

namespace memring::test {

inline constexpr int64_t kRows = 117;

/// The rows of one call: [begin, begin + count) of all.
struct Part {
  int64_t begin, count;
};
using Split = std::vector<Part>;

/// All rows at once, and cut where canonical blocks begin: two parts, and the ends of a zigzag and its middle by
/// chunks.
struct Blocks {
  int64_t rows;
  std::vector<Split> splits;
};
inline const std::vector<Blocks> kBlocks{
    {16, {{{0, kRows}}, {{0, 32}, {32, kRows - 32}}, {{96, kRows - 96}, {0, 16}, {16, 80}}}},
    {1, {{{0, kRows}}, {{0, 19}, {19, kRows - 19}}, {{113, kRows - 113}, {0, 6}, {6, 107}}}},
};

/// Calls run(queue, part) for the parts of each split on every queue with blocks, and compares what `results` gives
/// with that of the first split on the first queue of the same instruction set.
template <class Start, class Run, class Results>
void expect_no_trace_of_splits(const Start& start, const Run& run, const Results& results) {
  for (const Blocks& blocks : kBlocks)
    for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512}) {
      decltype(results()) expected{};
      for (Queue::Options options : fast_queues()) {
        if (options.isa != isa) continue;
        options.block = blocks.rows;
        Queue queue(options);
        for (const Split& split : blocks.splits) {
          start();
          for (const Part& part : split) run(queue, part);
          if (expected.empty()) expected = results();
          EXPECT_TRUE(expected == results())
              << text(options) << ", blocks of " << blocks.rows << ", " << split.size() << " parts";
        }
      }
    }
}

template <class T>
View<T> part_of(Tensor<T>& all, Part part) {
  return all.view().rows(part.begin, part.count);
}
template <class T>
ConstView<T> part_of(const Tensor<T>& all, Part part) {
  return all.view().rows(part.begin, part.count);
}

struct Sums {
  std::vector<Exact> data;
  Shape shape;
  explicit Sums(Shape s) : data(static_cast<size_t>(s.elements())), shape(s) {}
  void clear() { std::fill(data.begin(), data.end(), Exact()); }
  View<> view() { return View<Exact>(data.data(), shape); }
};

}  // namespace memring::test
