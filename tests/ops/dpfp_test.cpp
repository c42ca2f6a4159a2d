// The feature map of associative memories: what it is, and its gradient. (associative_test.cpp holds it against the
// double reference, with the memory.)
// SPDX-License-Identifier: Apache-2.0
#include "kernels/dpfp/dpfp.h"
#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t rows, key_dim, nu;
  int64_t keys() const { return 2 * nu * key_dim; }
};

TEST(Dpfp, IsTheProductOfHalvesWithTheirRolledSelves) {
  on_queues(every_queue(), [](Queue& queue) {
    Tensor<float> x(Shape{1, 2}), phi(Shape{1, 8});
    x[0] = 2, x[1] = -3;
    Dpfp::forward(queue, phi, x, 2);
    // u = [2, 0, 0, 3];  rolled by one [3, 2, 0, 0], by two [0, 3, 2, 0]
    const std::vector<float> expected{6, 0, 0, 0, 0, 0, 0, 0};
    settle();
    EXPECT_EQ(phi.data, expected);
  });
}

TEST(Dpfp, IsNeverNegativeAndOfDegreeTwo) {
  const Extents e{40, 7, 5};
  on_queues(every_queue(), [&](Queue& queue) {
    auto x = random<float>({e.rows, e.key_dim}, 1);
    Tensor<float> phi(Shape{e.rows, e.keys()}), larger = phi;
    Dpfp::forward(queue, phi, x, e.nu);
    settle();
    for (float& value : x.data) value *= 4;
    Dpfp::forward(queue, larger, x, e.nu);
    for (int64_t i = 0; i < phi.size(); ++i) {
      EXPECT_GE(phi[i], 0);
      EXPECT_EQ(larger[i], 16 * phi[i]);
    }
  });
}

template <class T>
struct Results {
  Tensor<T> phi, dx;
};
template <class T>
Results<T> run(Queue& queue, const Extents& e) {
  const auto x = random<T>({e.rows, e.key_dim}, 1), d_phi = random<T>({e.rows, e.keys()}, 2);
  Results<T> r{Tensor<T>(d_phi.shape), Tensor<T>(x.shape)};
  Dpfp::forward(queue, r.phi, x, e.nu);
  Dpfp::backward(queue, r.dx, d_phi, x, e.nu);
  return r;
}

TEST(Dpfp, AgreesWithTheDoubleReference) {
  for (const Extents& e : {Extents{1, 1, 1}, {3, 4, 3}, {2, 1, 5}, {4, 3, 6}, {5, 33, 3}, {0, 4, 2}}) {
    Queue oracle = reference_queue();
    const auto expected = run<double>(oracle, e);
    on_queues(every_queue(), [&](Queue& queue) {
      const auto found = run<float>(queue, e);
      expect_close(found.phi, expected.phi, 1e-6, "phi");
      expect_close(found.dx, expected.dx, 1e-6, "dx");
      const auto wide = run<double>(queue, e);
      expect_close(wide.phi, expected.phi, 1e-14, "phi in fp64");
      expect_close(wide.dx, expected.dx, 1e-14, "dx in fp64");
    });
  }
}

TEST(Dpfp, ReferenceGradientMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 1, 1}, {3, 4, 3}, {2, 1, 5}, {4, 3, 6}}) {
    Queue queue = reference_queue();
    const Differentiable dpfp{[&](const Tensors& in) {
                                Tensor<double> phi(Shape{e.rows, e.keys()});
                                Dpfp::forward(queue, phi, in[0], e.nu);
                                return Tensors{phi};
                              },
                              [&](const Tensors& in, const Tensors& d) {
                                Tensor<double> dx(in[0].shape);
                                Dpfp::backward(queue, dx, d[0], in[0], e.nu);
                                return Tensors{dx};
                              }};
    expect_gradient(dpfp, {random<double>({e.rows, e.key_dim}, 1)});
  }
}

}  // namespace
}  // namespace memring::test
