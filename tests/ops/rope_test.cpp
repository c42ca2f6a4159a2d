// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/rope.h"
#include "base/error.h"

#include <cmath>

#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t batch, heads, rows, head_dim;
};
const Extents kExtents[] = {{1, 1, 1, 2},   {2, 3, 5, 6}, {1, 4, 17, 32}, {3, 2, 7, 34},
                            {2, 5, 53, 64}, {2, 2, 0, 4}, {0, 2, 3, 4}};

std::vector<Row> rows_at(int64_t count) {
  std::vector<Row> rows(static_cast<size_t>(count));
  for (size_t r = 0; r < rows.size(); ++r) rows[r].position = static_cast<int32_t>(r * r % 37);
  return rows;
}

template <class T>
struct Results {
  Tensor<T> cos, sin, out, d_in;
};
template <class T>
Results<T> run(Queue& queue, Extents e, const Tensor<T>& in, const Tensor<T>& d_out) {
  Results<T> r{Tensor<T>(Shape{e.rows, e.head_dim / 2}), Tensor<T>(Shape{e.rows, e.head_dim / 2}),
               Tensor<T>(d_out.shape), Tensor<T>(in.shape)};
  const std::vector<Row> rows = rows_at(e.rows);
  Rope::table(queue, r.cos, r.sin, row_table(rows), 10000);
  Rope::forward(queue, r.out, in, r.cos, r.sin);
  Rope::backward(queue, r.d_in, d_out, r.cos, r.sin);
  settle();  // rows must stay until then
  return r;
}

TEST(Rope, AgreesWithTheDoubleReference) {
  for (const Extents& e : kExtents) {
    SCOPED_TRACE(fmt::format("batch {}, heads {}, rows {}, head_dim {}", e.batch, e.heads, e.rows, e.head_dim));
    const auto in = random<float>({e.batch * e.rows, e.heads * e.head_dim}, 1);
    const auto d_out = random<float>({e.batch, e.heads, e.rows, e.head_dim}, 2);
    Queue oracle = reference_queue();
    const auto expected = run<double>(oracle, e, Tensor<double>(in), Tensor<double>(d_out));
    on_queues(every_queue(), [&](Queue& queue) {
      const auto found = run<float>(queue, e, in, d_out);
      expect_close(found.out, expected.out, 1e-6, "out");
      expect_close(found.d_in, expected.d_in, 1e-6, "d_in");
    });
  }
}

TEST(Rope, ReferenceGradientMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 1, 1, 2}, {2, 3, 5, 6}}) {
    Queue queue = reference_queue();
    const Tensor<double> none(Shape{e.batch * e.rows, e.heads * e.head_dim}),
        d_none(Shape{e.batch, e.heads, e.rows, e.head_dim});
    const Differentiable rope{
        [&](const Tensors& in) { return Tensors{run<double>(queue, e, in[0], d_none).out}; },
        [&](const Tensors&, const Tensors& d) { return Tensors{run<double>(queue, e, none, d[0]).d_in}; }};
    expect_gradient(rope, {random<double>(none.shape, 1)});
  }
}

TEST(Rope, MovesEachPairByItsAngle) {
  // One row at position 3, two heads of head_dim 4: pairs (0, 2) and (1, 3) turn by 3 and 3 / sqrt(theta).
  const Row row{.position = 3};
  Tensor<double> cos(Shape{1, 2}), sin(Shape{1, 2}), in(Shape{1, 8}), out(Shape{1, 2, 1, 4});
  Queue queue;
  Rope::table(queue, cos, sin, std::span(&row, 1), 100);
  for (int64_t i = 0; i < 8; ++i) in[i] = static_cast<double>(i + 1);
  Rope::forward(queue, out, in, cos, sin);
  for (int64_t h = 0; h < 2; ++h)
    for (int64_t i = 0; i < 2; ++i) {
      const double angle = i == 0 ? 3.0 : 0.3, low = in[4 * h + i], high = in[4 * h + i + 2];
      EXPECT_NEAR(out[4 * h + i], low * std::cos(angle) - high * std::sin(angle), 1e-14);
      EXPECT_NEAR(out[4 * h + i + 2], high * std::cos(angle) + low * std::sin(angle), 1e-14);
    }
}

TEST(Rope, TheTableIsExactFarFromTheStart) {
  const Row row{.position = 1000003};
  Tensor<float> cos(Shape{1, 64}), sin(Shape{1, 64});
  Queue queue;
  Rope::table(queue, cos, sin, std::span(&row, 1), 10000);
  for (int64_t i = 0; i < 64; ++i) {
    const long double angle = 1000003.0L * std::pow(10000.0L, -static_cast<long double>(i) / 64);
    EXPECT_NEAR(cos[i], static_cast<double>(std::cos(angle)), 1e-7) << i;
    EXPECT_NEAR(sin[i], static_cast<double>(std::sin(angle)), 1e-7) << i;
  }
}

TEST(Rope, RefusesShapesThatDoNotFit) {
  Queue queue;
  Tensor<float> out(Shape{2, 3, 5, 4}), in(Shape{10, 12}), table(Shape{5, 2}), wrong(Shape{5, 3}),
      odd(Shape{2, 4, 5, 3});
  EXPECT_THROW(Rope::forward(queue, out, in, table, wrong), ShapeError);
  EXPECT_THROW(Rope::forward(queue, odd, in, table, table), ShapeError);
  EXPECT_THROW(Rope::backward(queue, table, out, table, table), ShapeError);
  EXPECT_THROW(Rope::table(queue, table, table, rows_at(4), 10000), ShapeError);
}

}  // namespace
}  // namespace memring::test
