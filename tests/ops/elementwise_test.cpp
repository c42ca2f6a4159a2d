// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/elementwise.h"

#include "op_test.h"

namespace memring::test {
namespace {

const Shape kShapes[] = {{1}, {7}, {3, 31}, {2, 3, 5}, {131, 257}, {0}, {0, 4}};

template <class T>
void expect_passes(Queue& queue) {
  for (const Shape& shape : kShapes) {
    const auto a = random<T>(shape, 1), b = random<T>(shape, 2);
    Tensor<T> copied(shape), filled(shape), sum(shape), expected_sum(shape), expected_fill(shape);
    for (int64_t i = 0; i < a.size(); ++i) expected_sum[i] = a[i] + b[i], expected_fill[i] = static_cast<T>(-2.5);
    Elementwise::copy(queue, copied, a);
    Elementwise::fill(queue, filled, -2.5);
    Elementwise::add(queue, sum, a, b);
    expect_same_bits(copied, a, "copy");
    expect_same_bits(filled, expected_fill, "fill");
    expect_same_bits(sum, expected_sum, "add");
    Tensor<T> scaled = a, doubled = a;
    for (int64_t i = 0; i < a.size(); ++i) doubled[i] = 2 * a[i];
    Elementwise::scale(queue, scaled, 2);
    expect_same_bits(scaled, doubled, "scale");
    Tensor<T> in_a = a, in_b = b;
    Elementwise::add(queue, in_a, in_a, b);
    Elementwise::add(queue, in_b, a, in_b);
    expect_same_bits(in_a, expected_sum, "add into a");
    expect_same_bits(in_b, expected_sum, "add into b");
  }
}

TEST(Elementwise, CopyFillScaleAndAddAreExactAndAddWorksInPlace) {
  on_queues(every_queue(), [](Queue& queue) {
    expect_passes<float>(queue);
    expect_passes<double>(queue);
  });
}

TEST(Elementwise, RefusesShapesAndTypesThatDoNotFit) {
  Queue queue;
  Tensor<float> a(Shape{3, 4}), b(Shape{4, 3});
  Tensor<double> c(Shape{3, 4});
  Tensor<int32_t> d(Shape{3, 4});
  EXPECT_THROW(Elementwise::copy(queue, a, b), ShapeError);
  EXPECT_THROW(Elementwise::copy(queue, a, c), ShapeError);
  EXPECT_THROW(Elementwise::add(queue, a, a, b), ShapeError);
  EXPECT_THROW(Elementwise::fill(queue, d.view(), 1), ShapeError);
}

}  // namespace
}  // namespace memring::test
