// SPDX-License-Identifier: Apache-2.0
#include "kernels/rmsnorm/rmsnorm.h"
#include "base/error.h"

#include <limits>

#include "op_test.h"

namespace memring::test {
namespace {

struct Extents {
  int64_t rows, dim;
};
const Extents kExtents[] = {{1, 1}, {3, 7}, {2, 64}, {65, 31}, {129, 257}, {0, 8}, {4200, 5}};
constexpr double kEps = 0.1;  // large, so that rows of one number have a gradient that is not pure cancellation

template <class T>
struct Results {
  Tensor<T> y, inv_rms, dx, dgain;
};
template <class T>
Results<T> run(Queue& queue, Extents e, Write write) {
  const auto x = random<T>({e.rows, e.dim}, 1), gain = random<T>({e.dim}, 2), dy = random<T>({e.rows, e.dim}, 3);
  Results<T> r{Tensor<T>(x.shape), Tensor<T>(Shape{e.rows}), random<T>({e.rows, e.dim}, 4), random<T>({e.dim}, 5)};
  RmsNorm::forward(queue, r.y, r.inv_rms, x, gain, kEps);
  RmsNorm::backward(queue, r.dx, write, r.dgain, dy, x, gain, r.inv_rms);
  return r;
}

TEST(RmsNorm, AgreesWithTheDoubleReference) {
  for (const Extents& e : kExtents)
    for (Write write : {Write::Overwrite, Write::Accumulate}) {
      SCOPED_TRACE(fmt::format("rows {}, dim {}", e.rows, e.dim));
      Queue oracle = reference_queue();
      const auto expected = run<double>(oracle, e, write);
      on_queues(every_queue(), [&](Queue& queue) {
        const auto found = run<float>(queue, e, write);
        expect_close(found.y, expected.y, 2e-6, "y");
        expect_close(found.inv_rms, expected.inv_rms, 2e-6, "inv_rms");
        expect_close(found.dx, expected.dx, 2e-6, "dx");
        expect_close(found.dgain, expected.dgain, 5e-6, "dgain");
      });
    }
}

TEST(RmsNorm, ReferenceGradientMatchesFiniteDifferences) {
  for (const Extents& e : {Extents{1, 1}, {3, 7}, {2, 64}}) {
    Queue queue = reference_queue();
    auto forward = [&](const Tensors& in, Tensor<double>& inv_rms) {
      Tensor<double> y(in[0].shape);
      inv_rms = Tensor<double>(Shape{e.rows});
      RmsNorm::forward(queue, y, inv_rms, in[0], in[1], 0.1);
      return y;
    };
    const Differentiable norm{[&](const Tensors& in) {
                                Tensor<double> inv_rms;
                                return Tensors{forward(in, inv_rms)};
                              },
                              [&](const Tensors& in, const Tensors& d) {
                                Tensor<double> inv_rms, dx(in[0].shape), dgain(in[1].shape);
                                forward(in, inv_rms);
                                RmsNorm::backward(queue, dx, Write::Overwrite, dgain, d[0], in[0], in[1], inv_rms);
                                return Tensors{dx, dgain};
                              }};
    expect_gradient(norm, {random<double>({e.rows, e.dim}, 1), random<double>({e.dim}, 2)});
  }
}

TEST(RmsNorm, SameBitsForAnyThreadCount) {
  for (Isa isa : {Isa::Baseline, best_isa()}) {
    Queue one({.isa = isa, .threads = 1});
    const auto expected = run<float>(one, {4500, 67}, Write::Accumulate);
    for (int threads : {2, 3, 5}) {
      Queue queue({.isa = isa, .threads = threads});
      const auto found = run<float>(queue, {4500, 67}, Write::Accumulate);
      expect_same_bits(found.y, expected.y, "y");
      expect_same_bits(found.dx, expected.dx, "dx");
      expect_same_bits(found.dgain, expected.dgain, "dgain");
    }
  }
}

TEST(RmsNorm, WorksInPlace) {
  on_queues(every_queue(), [](Queue& queue) {
    const auto x = random<float>({70, 33}, 1), gain = random<float>({33}, 2), dy = random<float>({70, 33}, 3);
    Tensor<float> y(x.shape), inv_rms(Shape{70}), dx(x.shape), dgain(gain.shape), dgain_in_place(gain.shape);
    RmsNorm::forward(queue, y, inv_rms, x, gain, kEps);
    RmsNorm::backward(queue, dx, Write::Overwrite, dgain, dy, x, gain, inv_rms);
    Tensor<float> y_in_place = x, dx_in_place = dy;
    RmsNorm::forward(queue, y_in_place, inv_rms, y_in_place, gain, kEps);
    RmsNorm::backward(queue, dx_in_place, Write::Overwrite, dgain_in_place, dx_in_place, x, gain, inv_rms);
    expect_same_bits(y_in_place, y, "y");
    expect_same_bits(dx_in_place, dx, "dx");
    expect_same_bits(dgain_in_place, dgain, "dgain");
  });
}

TEST(RmsNorm, AFrozenGainChangesNothingElse) {
  on_queues(every_queue(), [](Queue& queue) {
    for (const Write write : {Write::Overwrite, Write::Accumulate}) {
      const auto expected = run<float>(queue, {70, 33}, write);
      const auto x = random<float>({70, 33}, 1), gain = random<float>({33}, 2), dy = random<float>({70, 33}, 3);
      auto dx = random<float>({70, 33}, 4);
      RmsNorm::backward(queue, dx, write, {}, dy, x, gain, expected.inv_rms);
      expect_same_bits(dx, expected.dx, "dx");
    }
  });
}

TEST(RmsNorm, ZerosAndNaNPassThrough) {
  on_queues(every_queue(), [](Queue& queue) {
    Tensor<float> x(Shape{2, 19}), gain = random<float>({19}, 2), y(x.shape), inv_rms(Shape{2});
    x[19] = std::numeric_limits<float>::quiet_NaN();
    RmsNorm::forward(queue, y, inv_rms, x, gain, kEps);
    for (int64_t i = 0; i < 19; ++i) {
      EXPECT_EQ(y[i], 0.0f);
      EXPECT_TRUE(y[19 + i] != y[19 + i]);
    }
  });
}

TEST(RmsNorm, RefusesShapesThatDoNotFit) {
  Queue queue;
  Tensor<float> x(Shape{3, 4}), gain(Shape{4}), inv_rms(Shape{3}), wrong(Shape{5});
  EXPECT_THROW(RmsNorm::forward(queue, x, inv_rms, x, wrong, kEps), ShapeError);
  EXPECT_THROW(RmsNorm::forward(queue, x, wrong, x, gain, kEps), ShapeError);
  EXPECT_THROW(RmsNorm::forward(queue, gain, inv_rms, x, gain, kEps), ShapeError);
  EXPECT_THROW(RmsNorm::backward(queue, x, Write::Overwrite, wrong, x, x, gain, inv_rms), ShapeError);
}

}  // namespace
}  // namespace memring::test
