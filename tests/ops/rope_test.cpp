// SPDX-License-Identifier: Apache-2.0
#include "rope_tables.h"

#include <cmath>

#include "base/error.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t batch, heads, rows, head_dim;
  bool own = false;  ///< each sequence has positions of its own
};
const Extents kExtents[] = {{1, 1, 1, 2},   {2, 3, 5, 6}, {1, 4, 17, 32},      {3, 2, 7, 34},
                            {2, 5, 53, 64}, {2, 2, 0, 4}, {3, 2, 7, 34, true}, {0, 2, 3, 4}};

std::vector<int32_t> positions(int64_t count) {
  std::vector<int32_t> positions(static_cast<size_t>(count));
  for (size_t r = 0; r < positions.size(); ++r) positions[r] = static_cast<int32_t>(r * r % 37);
  return positions;
}

template <class T>
struct Results {
  RopeTables<T> tables;
  Tensor<T> out, d_in;
};
template <class T>
Results<T> run(Queue& queue, Extents e, const Tensor<T>& in, const Tensor<T>& d_out) {
  const int64_t tables = e.own ? e.batch : 1;
  Results<T> r{RopeTables<T>(queue, positions(tables * e.rows), e.head_dim / 2, 10000, tables, 1.25),
               Tensor<T>(d_out.shape), Tensor<T>(in.shape)};
  Rope::forward(queue, r.out, in, r.tables.cos, r.tables.sin);
  Rope::backward(queue, r.d_in, d_out, r.tables.cos, r.tables.sin);
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
  for (const Extents& e : {Extents{1, 1, 1, 2}, {2, 3, 5, 6}, {2, 3, 5, 6, true}}) {
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
  Tensor<double> in(Shape{1, 8}), out(Shape{1, 2, 1, 4});
  Queue queue;
  const RopeTables<double> tables(queue, {3}, 2, 100);
  for (int64_t i = 0; i < 8; ++i) in[i] = static_cast<double>(i + 1);
  Rope::forward(queue, out, in, tables.cos, tables.sin);
  for (int64_t h = 0; h < 2; ++h)
    for (int64_t i = 0; i < 2; ++i) {
      const double angle = i == 0 ? 3.0 : 0.3, low = in[4 * h + i], high = in[4 * h + i + 2];
      EXPECT_NEAR(out[4 * h + i], low * std::cos(angle) - high * std::sin(angle), 1e-14);
      EXPECT_NEAR(out[4 * h + i + 2], high * std::cos(angle) + low * std::sin(angle), 1e-14);
    }
}

TEST(Rope, TheTableIsExactFarFromTheStart) {
  Queue queue;
  const RopeTables<float> tables(queue, {1000003}, 64, 10000, 1, 1.5);
  for (int64_t i = 0; i < 64; ++i) {
    const long double angle = 1000003.0L * std::pow(10000.0L, -static_cast<long double>(i) / 64);
    EXPECT_NEAR(tables.cos[i], 1.5 * static_cast<double>(std::cos(angle)), 1.5e-7) << i;
    EXPECT_NEAR(tables.sin[i], 1.5 * static_cast<double>(std::sin(angle)), 1.5e-7) << i;
  }
}

TEST(Rope, RefusesShapesThatDoNotFit) {
  Queue queue;
  Tensor<float> out(Shape{2, 3, 5, 4}), in(Shape{10, 12}), table(Shape{1, 5, 2}), wrong(Shape{1, 5, 3}),
      odd(Shape{2, 4, 5, 3}), three(Shape{3, 5, 2});
  EXPECT_THROW(Rope::forward(queue, out, in, table, wrong), ShapeError);
  EXPECT_THROW(Rope::forward(queue, odd, in, table, table), ShapeError);
  EXPECT_THROW(Rope::forward(queue, out, in, three, three), ShapeError);
  EXPECT_THROW(Rope::backward(queue, table, out, table, table), ShapeError);
  const Tensor<double> inverse = frequencies(2, 10000), longer = frequencies(3, 10000);
  const Tensor<int32_t> four(Shape{4}), five(Shape{5});
  EXPECT_THROW(Rope::table(queue, table, table, token_ids(four), inverse.view(), 1), ShapeError);
  EXPECT_THROW(Rope::table(queue, table, table, token_ids(five), longer.view(), 1), ShapeError);
}

}  // namespace
}  // namespace memring::test
