// SPDX-License-Identifier: Apache-2.0
#include "kernels/associative/associative.h"
#include "base/error.h"
#include "kernels/dpfp/dpfp.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "op_test.h"

namespace memring::test {
namespace {

Tensor<double> nobodys(Shape{2});
View<double> unread() { return nobodys.view(); }

struct Extents {
  int64_t rows, key_dim, nu, dim;
  int64_t keys() const { return 2 * nu * key_dim; }
};
// Single numbers, primes, an order beyond the width, more rows than features, none at all, and large enough for
// threads.
const Extents kExtents[] = {{1, 1, 1, 1}, {3, 7, 2, 5},    {5, 2, 9, 3},    {131, 3, 3, 17},
                            {0, 4, 2, 3}, {16, 16, 3, 64}, {67, 31, 3, 131}};

/// Features of random rows, as keys and queries are.
template <class T>
Tensor<T> features(const Extents& e, uint64_t stream) {
  Queue queue = reference_queue();
  const Entered entered(queue);
  const auto x = random<double>({e.rows, e.key_dim}, stream);
  Tensor<double> phi(Shape{e.rows, e.keys()});
  Dpfp::forward(queue, phi, x, e.nu);
  return Tensor<T>(Tensor<float>(phi));
}

template <class T>
struct State {
  Tensor<T> A, z;
};
/// The same without zeros, for finite differences: a denominator near eps is too steep for them.
Tensor<double> dense_features(const Extents& e, uint64_t stream) {
  Tensor<double> phi = features<double>(e, stream);
  for (double& value : phi.data) value += 0.1;
  return phi;
}

/// What earlier segments have left: denominators are of order 1.
template <class T>
State<T> state_of(const Extents& e) {
  State<T> state{random<T>({e.keys(), e.dim}, 21), random<T>({e.keys()}, 22)};
  for (T& value : state.z.data) value = std::abs(value) + T(0.1);
  return state;
}

template <class T>
Scratch scratch_of(const Extents& e) {
  const DType dtype = dtype_of<T>();
  return Scratch(std::max({Associative::read_scratch_bytes(dtype, e.keys(), e.dim),
                           Associative::read_backward_scratch_bytes(dtype, e.rows, e.keys(), e.dim),
                           Associative::write_scratch_bytes(dtype, e.rows, e.keys(), e.dim),
                           Associative::write_backward_scratch_bytes(dtype, e.rows, e.keys(), e.dim)}));
}

template <class T>
struct Results {
  Tensor<T> phi, dx;                                       // of the feature map
  Tensor<T> y, d_phi, dA, dz;                              // of the read
  Tensor<T> new_A, new_z, dk, dv, d_gate, old_dA, old_dz;  // of the write
};
/// Every operator once, on the same numbers rounded to fp32. Without `state`: on the initial one.
template <class T>
Results<T> run(Queue& queue, const Extents& e, bool with_state) {
  const Shape wide{e.rows, e.dim}, by_key{e.rows, e.keys()}, A_shape{e.keys(), e.dim}, z_shape{e.keys()};
  const auto x = random<T>({e.rows, e.key_dim}, 1);
  const auto d_phi = random<T>(by_key, 2), dy = random<T>(wide, 3), v = random<T>(wide, 4),
             gate = random<T>({e.rows}, 5), d_new_A = random<T>(A_shape, 6), d_new_z = random<T>(z_shape, 7);
  const Tensor<T> k = features<T>(e, 8);
  const State<T> state = state_of<T>(e);
  const ConstView<> A = with_state ? state.A.view() : ConstView<T>(), z = with_state ? state.z.view() : ConstView<T>();
  Scratch scratch = scratch_of<T>(e);

  // What is written starts as something else.
  Results<T> r{random<T>(by_key, 31),  random<T>(x.shape, 32), random<T>(wide, 33),     random<T>(by_key, 34),
               random<T>(A_shape, 35), random<T>(z_shape, 36), random<T>(A_shape, 37),  random<T>(z_shape, 38),
               random<T>(by_key, 39),  random<T>(wide, 40),    random<T>({e.rows}, 41), random<T>(A_shape, 42),
               random<T>(z_shape, 43)};
  Dpfp::forward(queue, r.phi, x, e.nu);
  Dpfp::backward(queue, r.dx, d_phi, x, e.nu);
  Tensor<T> query = features<T>(e, 9);
  Associative::read(queue, r.y, query, A, z, unread(), scratch);
  query = features<T>(e, 9);
  Associative::read_backward(queue, r.d_phi, r.dA, r.dz, dy, query, A, z, scratch);
  const Associative::Rows rows{k, v, gate};
  Associative::write(queue, r.new_A, r.new_z, rows, A, z, unread(), scratch);
  Associative::write_backward(queue, {r.dk, r.dv, r.d_gate}, with_state ? r.old_dA.view() : View<T>(),
                              with_state ? r.old_dz.view() : View<T>(), d_new_A, d_new_z, rows, A, z, scratch);
  return r;
}

template <class F>
void for_results(const F& f) {
  f(
      "phi", [](auto& r) -> auto& { return r.phi; });
  f(
      "dx", [](auto& r) -> auto& { return r.dx; });
  f(
      "y", [](auto& r) -> auto& { return r.y; });
  f(
      "d_phi", [](auto& r) -> auto& { return r.d_phi; });
  f(
      "dA", [](auto& r) -> auto& { return r.dA; });
  f(
      "dz", [](auto& r) -> auto& { return r.dz; });
  f(
      "new A", [](auto& r) -> auto& { return r.new_A; });
  f(
      "new z", [](auto& r) -> auto& { return r.new_z; });
  f(
      "dk", [](auto& r) -> auto& { return r.dk; });
  f(
      "dv", [](auto& r) -> auto& { return r.dv; });
  f(
      "d_gate", [](auto& r) -> auto& { return r.d_gate; });
  f(
      "old dA", [](auto& r) -> auto& { return r.old_dA; });
  f(
      "old dz", [](auto& r) -> auto& { return r.old_dz; });
}

void expect_agreement(const std::vector<Queue::Options>& queues, double tolerance) {
  for (const Extents& e : kExtents)
    for (const bool with_state : {false, true}) {
      SCOPED_TRACE(fmt::format("rows {}, key_dim {}, nu {}, dim {}, {} state", e.rows, e.key_dim, e.nu, e.dim,
                               with_state ? "some" : "initial"));
      Queue oracle = reference_queue();
      auto expected = run<double>(oracle, e, with_state);
      on_queues(queues, [&](Queue& queue) {
        auto found = run<float>(queue, e, with_state);
        for_results([&](const char* name, const auto& of) { expect_close(of(found), of(expected), tolerance, name); });
        if (!queue.device()) return;  // on the host fp64 is the reference's
        auto wide = run<double>(queue, e, with_state);
        for_results([&](const char* name, const auto& of) { expect_close(of(wide), of(expected), 1e-10, name); });
      });
    }
}

TEST(Associative, AgreesWithTheDoubleReference) { expect_agreement(every_queue(), 2e-5); }

TEST(Associative, Bf16ProductsStayCloseToTheDoubleReference) {
  auto queues = every_queue();
  for (auto& options : queues) options.products = Products::Bf16;
  expect_agreement(queues, 5e-2);
}

TEST(Associative, SameBitsForAnyThreadCountOfOurOwnLoops) {
  const Extents e{301, 31, 3, 67};
  Queue one;
  auto expected = run<float>(one, e, false);
  for (int threads : {2, 3, 5}) {
    Queue queue({.threads = threads});
    auto found = run<float>(queue, e, false);
    for (const auto& of : {+[](Results<float>& r) { return &r.phi; }, +[](Results<float>& r) { return &r.dx; },
                           +[](Results<float>& r) { return &r.new_z; }})
      expect_same_bits(*of(found), *of(expected), "thread count");
  }
}

TEST(Associative, GradientOfAReadMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 1, 1, 1}, {3, 2, 2, 5}, {7, 3, 1, 2}}) {
    Queue queue = reference_queue();
    Scratch scratch = scratch_of<double>(e);
    const Differentiable read{[&](const Tensors& in) {
                                Tensor<double> y = in[0], phi = in[1];
                                Associative::read(queue, y, phi, in[2], in[3], unread(), scratch);
                                return Tensors{y};
                              },
                              [&](const Tensors& in, const Tensors& d) {
                                Tensor<double> phi = in[1], d_phi(phi.shape), dA(in[2].shape), dz(in[3].shape);
                                Associative::read_backward(queue, d_phi, dA, dz, d[0], phi, in[2], in[3], scratch);
                                return Tensors{d[0], d_phi, dA, dz};
                              }};
    const State<double> state = state_of<double>(e);
    expect_gradient(read, {random<double>({e.rows, e.dim}, 1), dense_features(e, 2), state.A, state.z});
  }
}

// gamma is a constant for the gradient, but not for a finite difference: the normaliser is so large here that it stays
// clipped to 0. Its part in the gradient is in the test below.
TEST(Associative, GradientOfAWriteMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 1, 1, 1}, {3, 2, 2, 5}, {7, 3, 1, 2}}) {
    Queue queue = reference_queue();
    Scratch scratch = scratch_of<double>(e);
    const Differentiable write{
        [&](const Tensors& in) {
          Tensor<double> A(in[3].shape), z(in[4].shape);
          Associative::write(queue, A, z, {in[0], in[1], in[2]}, in[3], in[4], unread(), scratch);
          return Tensors{A, z};
        },
        [&](const Tensors& in, const Tensors& d) {
          Tensor<double> dk(in[0].shape), dv(in[1].shape), d_gate(in[2].shape), dA(in[3].shape), dz(in[4].shape);
          Associative::write_backward(queue, {dk, dv, d_gate}, dA, dz, d[0], d[1], {in[0], in[1], in[2]}, in[3], in[4],
                                      scratch);
          return Tensors{dk, dv, d_gate, dA, dz};
        }};
    State<double> state = state_of<double>(e);
    for (double& value : state.z.data) value += 20;
    expect_gradient(write, {dense_features(e, 1), random<double>({e.rows, e.dim}, 2), random<double>({e.rows}, 3),
                            state.A, state.z});
  }
}

TEST(Associative, GammaIsAConstantForTheGradient) {
  const Extents e{3, 2, 2, 5};
  on_queues(every_queue(), [&](Queue& queue) {
    Scratch scratch = scratch_of<float>(e);
    const auto k = features<float>(e, 1), v = random<float>({e.rows, e.dim}, 2), gate = random<float>({e.rows}, 3);
    const Tensor<float> d_A(Shape{e.keys(), e.dim});
    const auto d_z = random<float>({e.keys()}, 4);
    Tensor<float> dk(k.shape), dv(v.shape), d_gate(gate.shape);
    Associative::write_backward(queue, {dk, dv, d_gate}, {}, {}, d_A, d_z, {k, v, gate}, {}, {}, scratch);
    for (int64_t r = 0; r < e.rows; ++r) {
      double square = 0;
      for (int64_t i = 0; i < e.keys(); ++i) square += double(k[r * e.keys() + i]) * k[r * e.keys() + i];
      const double gamma = 1 - Associative::kEps / (square + Associative::kEps);
      for (int64_t i = 0; i < e.keys(); ++i) EXPECT_NEAR(dk[r * e.keys() + i], gamma * d_z[i], 1e-6);
    }
    for (int64_t i = 0; i < dv.size(); ++i) EXPECT_EQ(dv[i], 0);
    for (int64_t i = 0; i < d_gate.size(); ++i) EXPECT_EQ(d_gate[i], 0);
  });
}

/// A memory that is written one key at a time.
struct Memory {
  Queue& queue;
  Tensor<float> A, z;
  bool empty = true;

  Memory(Queue& q, int64_t keys, int64_t dim) : queue(q), A(Shape{keys, dim}), z(Shape{keys}) {}
  void write(const Tensor<float>& k, const Tensor<float>& v) {
    Tensor<float> new_A(A.shape), new_z(z.shape), gate(Shape{k.shape[0]});
    std::fill(gate.data.begin(), gate.data.end(), 100.0f);  // beta = 1
    Scratch scratch(Associative::write_scratch_bytes(DType::F32, k.shape[0], A.shape[0], A.shape[1]));
    Associative::write(queue, new_A, new_z, {k, v, gate}, empty ? ConstView<>() : A, empty ? ConstView<>() : z,
                       unread(), scratch);
    A = new_A, z = new_z, empty = false;
  }
  Tensor<float> read(Tensor<float> k) const {
    Tensor<float> y(Shape{k.shape[0], A.shape[1]});
    Scratch scratch(Associative::read_scratch_bytes(DType::F32, A.shape[0], A.shape[1]));
    Associative::read(queue, y, k, A, z, unread(), scratch);
    return y;
  }
};

TEST(Associative, AKeyWrittenAgainReplacesItsValue) {
  const Extents e{1, 8, 3, 6};
  on_queues(every_queue(), [&](Queue& queue) {
    const auto k = features<float>(e, 1);
    Memory memory(queue, e.keys(), e.dim);
    for (uint64_t j = 0; j < 6; ++j) {
      const auto v = random<float>({1, e.dim}, 10 + j);
      memory.write(k, v);
      expect_close(memory.read(k), Tensor<double>(v), 2e-5, fmt::format("after write {}", j));
    }
  });
}

TEST(Associative, OrthogonalKeysAreRecalledExactly) {
  const int64_t keys = 24, dim = 7;
  on_queues(every_queue(), [&](Queue& queue) {
    Tensor<float> k(Shape{keys, keys});
    for (int64_t i = 0; i < keys; ++i) k[i * keys + i] = 1 + 0.1f * static_cast<float>(i);
    const auto v = random<float>({keys, dim}, 1);
    Memory memory(queue, keys, dim);
    memory.write(k, v);
    expect_close(memory.read(k), Tensor<double>(v), 3e-5, "recalled");
  });
}

TEST(Associative, AnEmptyStateIsZero) {
  const Extents e{6, 5, 2, 9};
  on_queues(every_queue(), [&](Queue& queue) {
    Scratch scratch = scratch_of<float>(e);
    const Tensor<float> A(Shape{e.keys(), e.dim}), z(Shape{e.keys()});
    const auto k = features<float>(e, 1), v = random<float>({e.rows, e.dim}, 2), gate = random<float>({e.rows}, 3);
    Tensor<float> A_empty(A.shape), A_zero(A.shape), z_empty(z.shape), z_zero(z.shape);
    Associative::write(queue, A_empty, z_empty, {k, v, gate}, {}, {}, unread(), scratch);
    Associative::write(queue, A_zero, z_zero, {k, v, gate}, A, z, unread(), scratch);
    expect_close(A_empty, Tensor<double>(A_zero), 1e-6, "A");
    expect_same_bits(z_empty, z_zero, "z");
    const auto before = random<float>({e.rows, e.dim}, 4);
    Tensor<float> y = before, phi = k;
    Associative::read(queue, y, phi, {}, {}, unread(), scratch);
    expect_same_bits(y, before, "a read");
  });
}

TEST(Associative, NoRowsLeaveTheStateAsItIs) {
  const Extents e{0, 4, 2, 3};
  on_queues(every_queue(), [&](Queue& queue) {
    const State<float> state = state_of<float>(e);
    const auto r = run<float>(queue, e, true);
    expect_same_bits(r.new_A, state.A, "A");
    expect_same_bits(r.new_z, state.z, "z");
    expect_same_bits(r.old_dA, random<float>(state.A.shape, 6), "dA");
    expect_same_bits(r.old_dz, random<float>(state.z.shape, 7), "dz");
    expect_same_bits(r.dA, random<float>(state.A.shape, 35), "dA of a read");
  });
}

TEST(Associative, TheOrderOfTheRowsDoesNotMatter) {
  const Extents e{5, 3, 3, 4};
  Queue queue = reference_queue();
  Scratch scratch = scratch_of<double>(e);
  const State<double> state = state_of<double>(e);
  auto k = features<double>(e, 1), v = random<double>({e.rows, e.dim}, 2), gate = random<double>({e.rows}, 3);
  Tensor<double> A(state.A.shape), z(state.z.shape), A_reversed(A.shape), z_reversed(z.shape);
  Associative::write(queue, A, z, {k, v, gate}, state.A, state.z, unread(), scratch);
  for (int64_t r = 0; r < e.rows / 2; ++r) {
    const int64_t other = e.rows - 1 - r;
    std::swap_ranges(&k[r * e.keys()], &k[r * e.keys()] + e.keys(), &k[other * e.keys()]);
    std::swap_ranges(&v[r * e.dim], &v[r * e.dim] + e.dim, &v[other * e.dim]);
    std::swap(gate[r], gate[other]);
  }
  Associative::write(queue, A_reversed, z_reversed, {k, v, gate}, state.A, state.z, unread(), scratch);
  expect_close(A_reversed, A, 1e-14, "A");
  expect_close(z_reversed, z, 1e-14, "z");
}

template <class T>
void expect_smallest(Queue& queue, const Extents& e) {
  Tensor<T> phi = features<T>(e, 1), y(Shape{e.rows, e.dim});
  const Tensor<T> k = phi, v = random<T>({e.rows, e.dim}, 2), gate = random<T>({e.rows}, 3);
  const State<T> state = state_of<T>(e);
  double key = std::numeric_limits<double>::infinity(), denominator = key;
  for (int64_t r = 0; r < e.rows; ++r) {
    double square = 0, den = Associative::kEps;
    for (int64_t i = 0; i < e.keys(); ++i) {
      const auto value = static_cast<double>(phi[r * e.keys() + i]);
      square += value * value;
      den += value * static_cast<double>(state.z[i]);
    }
    key = std::min(key, square);
    denominator = std::min(denominator, den);
  }
  const auto expect = [&](double found, double expected, const char* what) {
    EXPECT_TRUE(found == expected || std::abs(found - expected) <= 1e-5 * expected) << what << " " << found;
  };
  Scratch scratch = scratch_of<T>(e);
  Tensor<T> new_A(state.A.shape), new_z(state.z.shape);
  Tensor<double> of_read(Shape{2}), of_write(Shape{2}), of_first(Shape{2}), lower(Shape{2});
  for (Tensor<double>* smallest : {&of_read, &of_write, &of_first})
    smallest->data.assign(2, std::numeric_limits<double>::infinity());
  Associative::write(queue, new_A, new_z, {k, v, gate}, state.A, state.z, of_write.view(), scratch);
  Associative::write(queue, new_A, new_z, {k, v, gate}, {}, {}, of_first.view(), scratch);
  Associative::read(queue, y, phi, state.A, state.z, of_read.view(), scratch);
  expect(of_write[0], key, "key");
  expect(of_write[1], denominator, "denominator of a write");
  expect(of_read[1], denominator, "denominator of a read");
  EXPECT_TRUE(std::isinf(of_read[0])) << "a read writes no key";
  EXPECT_TRUE(std::isinf(of_first[1])) << "the initial state has no denominator but eps";
  Associative::write(queue, new_A, new_z, {k, v, gate}, state.A, state.z, lower.view(), scratch);
  expect(lower[0], 0, "a key below what was noted before");
  expect(lower[1], 0, "a denominator below what was noted before");
}

TEST(Associative, NotesTheSmallestKeyAndDenominator) {
  on_queues(every_queue(), [](Queue& queue) {
    for (const Extents& e : kExtents) {
      expect_smallest<float>(queue, e);
      expect_smallest<double>(queue, e);
    }
  });
}

TEST(Associative, RefusesShapesThatDoNotFit) {
  Queue queue;
  Scratch scratch(1024);
  Tensor<float> y(Shape{3, 4}), phi(Shape{3, 6}), A(Shape{6, 4}), z(Shape{6}), gate(Shape{3}), wrong(Shape{6, 5});
  EXPECT_THROW(Associative::read(queue, y, phi, wrong, z, unread(), scratch), ShapeError);
  EXPECT_THROW(Associative::read(queue, y, phi, A, ConstView<>(), unread(), scratch), ShapeError);
  EXPECT_THROW(Associative::read(queue, y, phi, A, z, View<double>(), scratch), ShapeError);
  EXPECT_THROW(Associative::write(queue, A, z, {phi, y, y}, {}, {}, unread(), scratch), ShapeError);
  EXPECT_THROW(Associative::write(queue, wrong, z, {phi, y, gate}, {}, {}, unread(), scratch), ShapeError);
  EXPECT_THROW(Dpfp::forward(queue, phi, y, 3), ShapeError);
}

}  // namespace
}  // namespace memring::test
