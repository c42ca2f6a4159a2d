// Queries, keys and values of a layer: against the double reference, by finite differences, and what it refuses.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/projections/projections.h"
#include "base/error.h"

#include "op_test.h"
#include "rope_tables.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t batch, rows, dim, heads, kv_heads, head_dim;
  std::vector<int32_t> asking{};  ///< rows that have a query; none: each
  bool own = false;               ///< each sequence has positions of its own

  int64_t total() const { return batch * rows; }
  int64_t asking_rows() const { return asking.empty() ? rows : std::ssize(asking); }
  int64_t scratch_bytes(DType dtype, bool backward) const {
    return Projections::scratch_bytes(dtype, total(), batch * asking_rows(), {dim, heads, kv_heads, head_dim},
                                      backward);
  }
  Shape queries() const { return {batch, heads, asking_rows(), head_dim}; }
  Shape keys() const { return {batch, kv_heads, rows, head_dim}; }
  Shape wide() const { return {heads * head_dim, dim}; }
  Shape narrow() const { return {kv_heads * head_dim, dim}; }
  std::string text() const {
    return fmt::format("batch {}, {} rows of {}, of which {} ask, {} heads on {} of {}", batch, rows, dim,
                       asking_rows(), heads, kv_heads, head_dim);
  }
};
const Extents kExtents[] = {{1, 1, 1, 1, 1, 2},
                            {2, 5, 7, 3, 1, 6},
                            {1, 17, 32, 4, 2, 8},
                            {3, 53, 67, 4, 4, 34},
                            {2, 0, 16, 2, 1, 4},
                            {2, 9, 7, 4, 2, 6, {1, 2, 8}},
                            {3, 9, 7, 4, 2, 6, {1, 2, 8}, true}};

template <class T>
struct Part {
  Tensor<T> q, k, v;

  Part(Shape wide, Shape narrow) : q(wide), k(narrow), v(narrow) {}
  Part(Shape wide, Shape narrow, uint64_t stream)
      : q(random<float>(wide, stream)), k(random<float>(narrow, stream + 1)), v(random<float>(narrow, stream + 2)) {}
  Projections::Parts parts() { return {q, k, v}; }
  Projections::ConstParts parts() const { return {q, k, v}; }
};

template <class T>
struct Inputs {
  Extents e;
  Tensor<T> normed;
  RopeTables<T> keys, asking;
  Part<T> weights, d_out;

  explicit Inputs(const Extents& extents)
      : e(extents),
        normed(random<float>({e.total(), e.dim}, 1)),
        keys(tables(extents, false)),
        asking(tables(extents, true)),
        weights(e.wide(), e.narrow(), 10),
        d_out(e.queries(), e.keys(), 20) {}
  RopeAngles angles() const { return keys.angles(); }
  Projections::Queries queries() const {
    return e.asking.empty() ? Projections::Queries{} : Projections::Queries{e.asking, asking.angles()};
  }

 private:
  static RopeTables<T> tables(const Extents& e, bool asking) {
    const int64_t sequences = e.own ? e.batch : 1;
    std::vector<int32_t> positions;
    for (int32_t b = 0; b < sequences; ++b)
      for (int32_t r = 0; r < (asking ? e.asking_rows() : e.rows); ++r)
        positions.push_back((b + 1) * 3 * (asking && !e.asking.empty() ? e.asking[static_cast<size_t>(r)] : r) + 1);
    Queue queue = reference_queue();
    return {queue, positions, e.head_dim / 2, 100, sequences};
  }
};

template <class T>
Part<T> forward(Queue& queue, const Extents& e, const Inputs<T>& in) {
  Part<T> out(e.queries(), e.keys());
  Scratch scratch(e.scratch_bytes(dtype_of<T>(), false));
  Projections::forward(queue, out.parts(), in.normed, in.weights.parts(), in.angles(), in.queries(), scratch);
  return out;
}

template <class T>
struct Gradients {
  Tensor<T> normed;
  Part<T> weights;
};

/// d_normed starts with numbers, which must go; those of the weights start with `before`, to which is added.
template <class T>
Gradients<T> backward(Queue& queue, const Extents& e, const Inputs<T>& in, Part<T> before) {
  Gradients<T> d{random<T>(in.normed.shape, 5), std::move(before)};
  Scratch scratch(e.scratch_bytes(dtype_of<T>(), true));
  Projections::backward(queue, d.normed, d.weights.parts(), in.d_out.parts(), in.normed, in.weights.parts(),
                        in.angles(), in.queries(), scratch);
  return d;
}

template <class T>
void expect_close(const Part<T>& found, const Part<double>& expected, double tolerance, const std::string& what) {
  expect_close(found.q, expected.q, tolerance, what + " q");
  expect_close(found.k, expected.k, tolerance, what + " k");
  expect_close(found.v, expected.v, tolerance, what + " v");
}

TEST(Projections, AgreeWithTheDoubleReference) {
  for (const Extents& e : kExtents) {
    SCOPED_TRACE(e.text());
    Queue oracle = reference_queue();
    const Inputs<double> exact(e);
    const auto expected = forward(oracle, e, exact);
    const auto d_expected = backward(oracle, e, exact, Part<double>(e.wide(), e.narrow(), 30));
    const Inputs<float> in(e);
    on_queues(every_queue(), [&](Queue& queue) {
      expect_close(forward(queue, e, in), expected, 5e-6, "out");
      const auto found = backward(queue, e, in, Part<float>(e.wide(), e.narrow(), 30));
      expect_close(found.normed, d_expected.normed, 5e-6, "d_normed");
      expect_close(found.weights, d_expected.weights, 5e-6, "gradient of the weights");
    });
  }
}

TEST(Projections, QueriesOfSomeRowsAreThoseOfAllAtTheseRows) {
  Extents all{2, 9, 7, 4, 2, 6}, some = all;
  some.asking = {1, 2, 8};
  Queue queue = reference_queue();
  const auto expected = forward(queue, all, Inputs<double>(all)), found = forward(queue, some, Inputs<double>(some));
  expect_same_bits(found.k, expected.k, "k");
  expect_same_bits(found.v, expected.v, "v");
  for (int64_t matrix = 0; matrix < all.batch * all.heads; ++matrix)
    for (size_t i = 0; i < some.asking.size(); ++i)
      for (int64_t d = 0; d < all.head_dim; ++d)
        EXPECT_EQ(found.q[(matrix * some.asking_rows() + static_cast<int64_t>(i)) * all.head_dim + d],
                  expected.q[(matrix * all.rows + some.asking[i]) * all.head_dim + d]);
}

TEST(Projections, ReferenceGradientMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 1, 1, 1, 1, 2}, {2, 3, 5, 4, 2, 4}, {2, 5, 3, 2, 1, 4, {0, 3}}}) {
    Queue queue = reference_queue();
    Inputs<double> at(e);
    const auto set = [&](const Tensors& in) {
      at.normed = in[0];
      at.weights.q = in[1];
      at.weights.k = in[2];
      at.weights.v = in[3];
    };
    const Differentiable projections{[&](const Tensors& in) {
                                       set(in);
                                       const auto out = forward(queue, e, at);
                                       return Tensors{out.q, out.k, out.v};
                                     },
                                     [&](const Tensors& in, const Tensors& d_out) {
                                       set(in);
                                       at.d_out.q = d_out[0];
                                       at.d_out.k = d_out[1];
                                       at.d_out.v = d_out[2];
                                       const auto d = backward(queue, e, at, Part<double>(e.wide(), e.narrow()));
                                       return Tensors{d.normed, d.weights.q, d.weights.k, d.weights.v};
                                     }};
    expect_gradient(projections, {at.normed, at.weights.q, at.weights.k, at.weights.v});
  }
}

TEST(Projections, RefuseShapesThatDoNotFit) {
  Queue queue;
  const Extents e{2, 3, 5, 4, 2, 4};
  const auto refuses = [&](const std::function<void(Inputs<float>&)>& spoil) {
    Inputs<float> in(e);
    spoil(in);
    EXPECT_THROW(forward(queue, e, in), ShapeError);
    EXPECT_THROW(backward(queue, e, in, Part<float>(e.wide(), e.narrow())), ShapeError);
  };
  refuses([](Inputs<float>& in) { in.normed = Tensor<float>(Shape{5, 5}); });
  refuses([](Inputs<float>& in) { in.weights.q = Tensor<float>(Shape{16, 4}); });
  refuses([](Inputs<float>& in) { in.weights.v = Tensor<float>(Shape{16, 5}); });
  refuses([](Inputs<float>& in) { in.keys.cos = Tensor<float>(Shape{1, 6, 2}); });
}

}  // namespace
}  // namespace memring::test
