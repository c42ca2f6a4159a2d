// Queries, keys and values of a layer: against the double reference, by finite differences, and what it refuses.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/projections/projections.h"
#include "base/error.h"

#include <cmath>

#include "kernels/heads/heads.h"
#include "kernels/linear/linear.h"
#include "layer_parameters.h"
#include "op_test.h"
#include "rope_tables.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t batch, rows, dim, heads, kv_heads, head_dim;
  std::vector<int32_t> asking{};  ///< rows that have a query; none: each
  bool own = false;               ///< each sequence has positions of its own
  Added added{};                  ///< to each layer
  bool norms = false;             ///< of queries and keys

  int64_t total() const { return batch * rows; }
  int64_t asking_rows() const { return asking.empty() ? rows : std::ssize(asking); }
  int64_t scratch_bytes(DType dtype, bool backward) const {
    return Projections::scratch_bytes(dtype, total(), batch * asking_rows(),
                                      {dim, heads, kv_heads, head_dim, added.rank, norms}, backward);
  }
  Shape queries() const { return {batch, heads, asking_rows(), head_dim}; }
  Shape keys() const { return {batch, kv_heads, rows, head_dim}; }
  std::string text() const {
    return fmt::format("batch {}, {} rows of {}, of which {} ask, {} heads on {} of {}, {}{}", batch, rows, dim,
                       asking_rows(), heads, kv_heads, head_dim, added.text(), norms ? ", normed" : "");
  }
};
const Extents kExtents[] = {{1, 1, 1, 1, 1, 2},
                            {2, 5, 7, 3, 1, 6},
                            {1, 17, 32, 4, 2, 8},
                            {3, 53, 67, 4, 4, 34},
                            {2, 0, 16, 2, 1, 4},
                            {2, 9, 7, 4, 2, 6, {1, 2, 8}},
                            {3, 9, 7, 4, 2, 6, {1, 2, 8}, true},
                            {2, 11, 7, 4, 2, 6, {}, false, {.bias = true}},
                            {2, 11, 7, 4, 2, 6, {}, true, {.rank = 3, .scale = 0.5}},
                            {2, 11, 7, 4, 2, 6, {}, false, {}, true},
                            {2, 70, 33, 4, 2, 6, {}, false, {.bias = true, .rank = 3, .scale = 0.5}, true},
                            {2, 9, 7, 4, 2, 6, {2, 3, 7}, true, {.bias = true, .rank = 3, .scale = 0.5}, true},
                            {2, 0, 16, 2, 1, 4, {}, false, {.bias = true, .rank = 3}, true}};
constexpr double kEps = 0.1;

template <class T>
struct Part {
  Tensor<T> q, k, v;

  explicit Part(const Extents& e) : q(e.queries()), k(e.keys()), v(e.keys()) {}
  Part(const Extents& e, uint64_t stream)
      : q(random<T>(e.queries(), stream)), k(random<T>(e.keys(), stream + 1)), v(random<T>(e.keys(), stream + 2)) {}
  Projections::Parts parts() { return {q, k, v}; }
  Projections::ConstParts parts() const { return {q, k, v}; }
};

template <class T>
struct Layers {
  LayerParameters<T> q, k, v;
  Tensor<T> q_norm, k_norm;

  Layers(const Extents& e, uint64_t stream)
      : q(e.heads * e.head_dim, e.dim, e.added, stream),
        k(e.kv_heads * e.head_dim, e.dim, e.added, stream + 1),
        v(e.kv_heads * e.head_dim, e.dim, e.added, stream + 2) {
    if (!e.norms) return;
    q_norm = random<T>({e.head_dim}, stream + 3);
    k_norm = random<T>({e.head_dim}, stream + 4);
  }
  Projections::Weights weights() const {
    Projections::Weights all{q.weights(), k.weights(), v.weights()};
    if (q_norm.data.empty()) return all;
    all.q_norm = q_norm;
    all.k_norm = k_norm;
    all.norm_eps = kEps;
    return all;
  }
  Projections::Gradients gradients() {
    Projections::Gradients all{q.gradients(), k.gradients(), v.gradients()};
    if (q_norm.data.empty()) return all;
    all.q_norm = q_norm;
    all.k_norm = k_norm;
    return all;
  }
  std::vector<std::vector<Tensor<T>*>> parts() {
    std::vector<std::vector<Tensor<T>*>> lists{q.parts(), k.parts(), v.parts()};
    if (!q_norm.data.empty()) lists.push_back({&q_norm, &k_norm});
    return lists;
  }
};

template <class T>
struct Inputs {
  Extents e;
  Tensor<T> normed;
  RopeTables<T> keys, asking;
  Layers<T> layers;
  Part<T> d_out;

  explicit Inputs(const Extents& extents)
      : e(extents),
        normed(random<T>({e.total(), e.dim}, 1)),
        keys(tables(extents, false)),
        asking(tables(extents, true)),
        layers(e, 10),
        d_out(e, 20) {}
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
Part<T> forward(Queue& queue, const Inputs<T>& in) {
  Part<T> out(in.e);
  Scratch scratch(in.e.scratch_bytes(dtype_of<T>(), false));
  Projections::forward(queue, out.parts(), in.normed, in.layers.weights(), in.angles(), in.queries(), scratch);
  return out;
}

template <class T>
struct Gradients {
  Tensor<T> normed;
  Layers<T> layers;
};

/// d_normed starts with numbers, which must go; those of the layers start with `before`, to which is added.
template <class T>
Gradients<T> backward(Queue& queue, const Inputs<T>& in, Layers<T> before) {
  Gradients<T> d{random<T>(in.normed.shape, 5), std::move(before)};
  Scratch scratch(in.e.scratch_bytes(dtype_of<T>(), true));
  Projections::backward(queue, d.normed, d.layers.gradients(), in.d_out.parts(), in.normed, in.layers.weights(),
                        in.angles(), in.queries(), scratch);
  EXPECT_EQ(scratch.used(), 0);
  return d;
}

TEST(Projections, AgreeWithTheDoubleReference) {
  for (const Extents& e : kExtents) {
    SCOPED_TRACE(e.text());
    Queue oracle = reference_queue();
    const Inputs<double> exact(e);
    const auto expected = forward(oracle, exact);
    auto d_expected = backward(oracle, exact, Layers<double>(e, 30));
    const Inputs<float> in(e);
    on_queues(every_queue(), [&](Queue& queue) {
      const auto out = forward(queue, in);
      expect_close(out.q, expected.q, 5e-6, "q");
      expect_close(out.k, expected.k, 5e-6, "k");
      expect_close(out.v, expected.v, 5e-6, "v");
      auto found = backward(queue, in, Layers<float>(e, 30));
      expect_close(found.normed, d_expected.normed, 5e-6, "d_normed");
      const auto parts = found.layers.parts();
      const auto d_parts = d_expected.layers.parts();
      for (size_t list = 0; list < parts.size(); ++list)
        for (size_t i = 0; i < parts[list].size(); ++i)
          expect_close(*parts[list][i], *d_parts[list][i], 5e-6, fmt::format("gradient {} of list {}", i, list));
    });
  }
}

// In front of the rotation, each head by itself, queries and keys by their own gains, values not at all.
TEST(Projections, NormEachHeadInFrontOfTheRotation) {
  const Extents e{2, 3, 5, 4, 2, 6, {}, false, {}, true};
  Queue queue = reference_queue();
  const Inputs<double> in(e);
  const auto found = forward(queue, in);
  const auto product = [&](const LayerParameters<double>& layer) {
    Tensor<double> rows(Shape{e.total(), layer.weight.shape[0]});
    Linear::forward(queue, rows, Write::Overwrite, in.normed, layer.weight);
    return rows;
  };
  const auto rotated = [&](Tensor<double> rows, const Tensor<double>& gain, Shape shape) {
    for (int64_t head = 0; head < rows.size() / e.head_dim; ++head) {
      double mean = 0;
      for (int64_t i = 0; i < e.head_dim; ++i) mean += std::pow(rows[head * e.head_dim + i], 2) / 6;
      for (int64_t i = 0; i < e.head_dim; ++i) rows[head * e.head_dim + i] *= gain[i] / std::sqrt(mean + kEps);
    }
    Tensor<double> out(shape);
    Rope::forward(queue, out, rows, in.keys.cos, in.keys.sin);
    return out;
  };
  expect_close(found.q, rotated(product(in.layers.q), in.layers.q_norm, e.queries()), 1e-14, "q");
  expect_close(found.k, rotated(product(in.layers.k), in.layers.k_norm, e.keys()), 1e-14, "k");
  Tensor<double> v(e.keys());
  Heads::split(queue, v, product(in.layers.v));
  expect_same_bits(found.v, v, "v");
}

TEST(Projections, FrozenPartsStayAndTheOthersHaveTheSameBits) {
  const Extents e{2, 11, 7, 4, 2, 6, {}, false, {.bias = true, .rank = 3}, true};
  const Inputs<float> in(e);
  on_queues(every_queue(), [&](Queue& queue) {
    const auto all = backward(queue, in, Layers<float>(e, 30));
    Tensor<float> d_normed(in.normed.shape);
    Layers<float> d(e, 30), before = d;
    Projections::Gradients some;  // LoRA of queries and values, and one gain
    some.q = {.lora_a = d.q.lora_a, .lora_b = d.q.lora_b};
    some.v = {.lora_a = d.v.lora_a, .lora_b = d.v.lora_b};
    some.k_norm = d.k_norm;
    Scratch scratch(e.scratch_bytes(DType::F32, true));
    Projections::backward(queue, d_normed, some, in.d_out.parts(), in.normed, in.layers.weights(), in.angles(),
                          in.queries(), scratch);
    expect_same_bits(d_normed, all.normed, "d_normed");
    expect_same_bits(d.q.lora_a, all.layers.q.lora_a, "A of q");
    expect_same_bits(d.v.lora_b, all.layers.v.lora_b, "B of v");
    expect_same_bits(d.k_norm, all.layers.k_norm, "gain of k");
    expect_same_bits(d.q.weight, before.q.weight, "weight of q");
    expect_same_bits(d.q.bias, before.q.bias, "bias of q");
    expect_same_bits(d.k.lora_a, before.k.lora_a, "A of k");
    expect_same_bits(d.q_norm, before.q_norm, "gain of q");
  });
}

TEST(Projections, QueriesOfSomeRowsAreThoseOfAllAtTheseRows) {
  Extents all{2, 9, 7, 4, 2, 6}, some = all;
  some.asking = {1, 2, 8};
  Queue queue = reference_queue();
  const auto expected = forward(queue, Inputs<double>(all)), found = forward(queue, Inputs<double>(some));
  expect_same_bits(found.k, expected.k, "k");
  expect_same_bits(found.v, expected.v, "v");
  for (int64_t matrix = 0; matrix < all.batch * all.heads; ++matrix)
    for (size_t i = 0; i < some.asking.size(); ++i)
      for (int64_t d = 0; d < all.head_dim; ++d)
        EXPECT_EQ(found.q[(matrix * some.asking_rows() + static_cast<int64_t>(i)) * all.head_dim + d],
                  expected.q[(matrix * all.rows + some.asking[i]) * all.head_dim + d]);
}

TEST(Projections, ReferenceGradientMatchesFiniteDifferences) {
  std::vector<Extents> cases{{1, 1, 1, 1, 1, 2}, {2, 3, 5, 4, 2, 4}, {2, 5, 3, 2, 1, 4, {0, 3}}};
  for (const Added& added : kEachAdded)
    for (const bool norms : {false, true}) {
      cases.push_back({2, 3, 2, 2, 1, 4, {}, true, added, norms});
      cases.push_back({2, 3, 2, 2, 1, 4, {0, 2}, false, added, norms});
    }
  for (const Extents& e : cases) {
    SCOPED_TRACE(e.text());
    Queue queue = reference_queue();
    Inputs<double> at(e);
    auto inputs = at.layers.parts();
    inputs.push_back({&at.normed});
    const Differentiable projections{[&](const Tensors& in) {
                                       set_listed(inputs, in);
                                       const auto out = forward(queue, at);
                                       return Tensors{out.q, out.k, out.v};
                                     },
                                     [&](const Tensors& in, const Tensors& d_out) {
                                       set_listed(inputs, in);
                                       at.d_out.q = d_out[0];
                                       at.d_out.k = d_out[1];
                                       at.d_out.v = d_out[2];
                                       Layers<double> zero(e, 30);
                                       for (const auto& list : zero.parts())
                                         for (Tensor<double>* part : list) *part = Tensor<double>(part->shape);
                                       auto d = backward(queue, at, std::move(zero));
                                       auto gradients = d.layers.parts();
                                       gradients.push_back({&d.normed});
                                       return listed(gradients);
                                     }};
    expect_gradient(projections, listed(inputs));
  }
}

TEST(Projections, RefuseShapesThatDoNotFit) {
  Queue queue;
  const Extents e{2, 3, 5, 4, 2, 4, {}, false, {.bias = true, .rank = 2}, true};
  const auto refuses = [&](const std::function<void(Inputs<float>&)>& spoil) {
    Inputs<float> in(e);
    spoil(in);
    on_queues(every_queue(), [&](Queue& each) {
      EXPECT_THROW(forward(each, in), ShapeError);
      EXPECT_THROW(backward(each, in, Layers<float>(e, 30)), ShapeError);
    });
  };
  refuses([](Inputs<float>& in) { in.normed = Tensor<float>(Shape{5, 5}); });
  refuses([](Inputs<float>& in) { in.layers.q.weight = Tensor<float>(Shape{16, 4}); });
  refuses([](Inputs<float>& in) { in.layers.v.weight = Tensor<float>(Shape{16, 5}); });
  refuses([](Inputs<float>& in) { in.layers.v.bias = Tensor<float>(Shape{4}); });
  refuses([](Inputs<float>& in) { in.layers.k.lora_b = Tensor<float>(Shape{8, 3}); });
  refuses([](Inputs<float>& in) { in.layers.q_norm = Tensor<float>(Shape{8}); });
  refuses([](Inputs<float>& in) { in.keys.cos = Tensor<float>(Shape{1, 6, 2}); });
  refuses([](Inputs<float>& in) { in.keys.sin = Tensor<float>(Shape{1, 3, 3}); });
  Inputs<float> in(e);
  in.layers.q_norm = {};
  EXPECT_EQ(message_of([&] { backward(queue, in, Layers<float>(e, 30)); }),
            "Projections: a gradient of a norm that is not there");
}

}  // namespace
}  // namespace memring::test
