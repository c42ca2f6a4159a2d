// SPDX-License-Identifier: Apache-2.0
#include "kernels/rows/rows.h"

#include <numeric>

#include "op_test.h"

namespace memring::test {
namespace {

struct Case {
  int64_t batch, to, from, dim;
  std::vector<int32_t> to_rows, from_rows;
};

/// Pairs of rows in no order, which come again: more than a kernel takes at once.
Case scattered(int64_t batch) {
  Case c{batch, 50, 40, 3, {}, {}};
  for (int32_t i = 0; i < 700; ++i) c.to_rows.push_back(i * 7 % 45), c.from_rows.push_back(i * i % 40);
  return c;
}

const Case kCases[] = {{1, 3, 2, 5, {2, 0}, {0, 1}},
                       {3, 4, 4, 7, {1, 1, 3}, {0, 2, 2}},  // a row twice: both ways
                       {67, 9, 5, 33, {8, 0, 4}, {1, 4, 0}},
                       {2, 3, 3, 4, {}, {}},
                       {0, 2, 2, 3, {1}, {0}},
                       {3, 9, 9, 40, {5, 6, 7, 8, 6, 7, 0}, {0, 1, 2, 3, 7, 8, 8}},  // ranges that overlap
                       scattered(2)};

/// Entry by entry, in the order of the contract.
template <class T>
Tensor<T> expected(const Case& c, Tensor<T> to, bool one_to, Write write, const Tensor<T>& from, bool one_from) {
  for (int64_t b = 0; b < c.batch; ++b)
    for (size_t i = 0; i < c.to_rows.size(); ++i)
      for (int64_t d = 0; d < c.dim; ++d) {
        T& y = to[((one_to ? 0 : b * c.to) + c.to_rows[i]) * c.dim + d];
        const T x = from[((one_from ? 0 : b * c.from) + c.from_rows[i]) * c.dim + d];
        y = write == Write::Accumulate ? y + x : x;
      }
  return to;
}

template <class T>
void expect_moves(Queue& queue) {
  for (const Case& c : kCases) {
    const auto to = random<T>({c.batch, c.to, c.dim}, 1), from = random<T>({c.batch, c.from, c.dim}, 2);
    const auto one_to = random<T>({c.to, c.dim}, 3), one_from = random<T>({c.from, c.dim}, 4);
    for (const Write write : {Write::Overwrite, Write::Accumulate}) {
      Tensor<T> each = to, same = to;
      MoveRows::run(queue, each.view(), c.to_rows, write, from, c.from_rows);
      MoveRows::run(queue, same.view(), c.to_rows, write, one_from, c.from_rows);
      expect_same_bits(each, expected(c, to, false, write, from, false), "each sequence's own");
      expect_same_bits(same, expected(c, to, false, write, one_from, true), "one for all sequences");
    }
    Tensor<T> sum = one_to;
    MoveRows::sum(queue, sum.view(), c.to_rows, from, c.from_rows);
    expect_same_bits(sum, expected(c, one_to, true, Write::Accumulate, from, false), "sum over sequences");
  }
}

TEST(MoveRows, MovesEveryRowOfTheListsInTheirOrder) {
  on_queues(every_queue(), [](Queue& queue) {
    expect_moves<float>(queue);
    expect_moves<double>(queue);
  });
}

TEST(MoveRows, RefusesRowsThatAreNotThereAndShapesThatDoNotFit) {
  Queue queue;
  Tensor<float> a(Shape{2, 3, 4}), b(Shape{2, 2, 4}), narrow(Shape{2, 2, 5}), one(Shape{3, 4});
  Tensor<double> wide(Shape{2, 2, 4});
  const std::vector<int32_t> none, first{0}, third{2}, below{-1};
  EXPECT_THROW(MoveRows::run(queue, a.view(), first, Write::Overwrite, b, third), ShapeError);
  EXPECT_THROW(MoveRows::run(queue, a.view(), below, Write::Overwrite, b, first), ShapeError);
  EXPECT_THROW(MoveRows::run(queue, a.view(), first, Write::Overwrite, b, none), ShapeError);
  EXPECT_THROW(MoveRows::run(queue, a.view(), first, Write::Overwrite, narrow, first), ShapeError);
  EXPECT_THROW(MoveRows::run(queue, a.view(), first, Write::Overwrite, wide, first), ShapeError);
  EXPECT_THROW(MoveRows::run(queue, one.view(), first, Write::Overwrite, b, first), ShapeError);
  EXPECT_THROW(MoveRows::sum(queue, a.view(), first, b, first), ShapeError);
  EXPECT_THROW(MoveRows::sum(queue, one.view(), third, b, third), ShapeError);
}

}  // namespace
}  // namespace memring::test
