// SPDX-License-Identifier: Apache-2.0
#include "kernels/heads/heads.h"

#include "op_test.h"

namespace memring::test {
namespace {

const Shape kShapes[] = {{1, 1, 1, 1}, {2, 3, 5, 7}, {1, 4, 17, 32}, {3, 2, 53, 64},
                         {2, 2, 0, 4}, {0, 2, 3, 4}, {2, 0, 3, 4}};

template <class T>
void expect_moves(Queue& queue) {
  for (const Shape& s : kShapes) {
    const Shape by_row{s[0] * s[2], s[1] * s[3]};
    const auto rows = random<T>(by_row, 1);
    Tensor<T> split(s), merged(by_row);
    Heads::split(queue, split, rows);
    for (int64_t b = 0; b < s[0]; ++b)
      for (int64_t h = 0; h < s[1]; ++h)
        for (int64_t r = 0; r < s[2]; ++r)
          for (int64_t i = 0; i < s[3]; ++i)
            ASSERT_EQ(split[((b * s[1] + h) * s[2] + r) * s[3] + i], rows[(b * s[2] + r) * s[1] * s[3] + h * s[3] + i])
                << s.text() << " at " << b << ", " << h << ", " << r << ", " << i;
    Heads::merge(queue, merged, split);
    expect_same_bits(merged, rows, "merge after split of " + s.text());
  }
}

TEST(Heads, SplitPutsEachHeadTogetherAndMergePutsItBack) {
  on_queues(every_queue(), [](Queue& queue) {
    expect_moves<float>(queue);
    expect_moves<double>(queue);
  });
}

TEST(Heads, RefusesShapesThatDoNotFit) {
  Queue queue;
  Tensor<float> by_head(Shape{2, 3, 5, 4}), wrong(Shape{10, 13});
  EXPECT_THROW(Heads::split(queue, by_head, wrong), ShapeError);
  EXPECT_THROW(Heads::merge(queue, wrong, by_head), ShapeError);
  EXPECT_THROW(Heads::merge(queue, wrong, wrong), ShapeError);
}

}  // namespace
}  // namespace memring::test
