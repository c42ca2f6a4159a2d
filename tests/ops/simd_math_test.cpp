// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/simd_math.h"

#include <cmath>
#include <limits>

#include "kernels/common/dispatch.h"
#include "kernels/cross_entropy/loops.h"
#include "op_test.h"

namespace memring::test {
namespace {

TEST(SimdMath, ExponentialIsAccurateWhereItsResultIsNormal) {
  double worst = 0;
  float at = 0;
  for (double x = -87.3365; x < 88.7228; x += 0.00037) {
    const float value = static_cast<float>(x);
    const double expected = std::exp(static_cast<double>(value));
    const double error = std::abs(simd_exp(value) - expected) / expected;
    if (error > worst) worst = error, at = value;
  }
  EXPECT_LT(worst, 2e-7) << "at " << at;
  EXPECT_EQ(simd_exp(0.0f), 1.0f);
}

TEST(SimdMath, ExponentialEndsInZeroAndInfinityAndKeepsNaN) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (float x : {-87.34f, -88.0f, -103.0f, -1e4f, -3e38f, -kInfinity}) EXPECT_EQ(simd_exp(x), 0.0f) << x;
  for (float x : {88.73f, 1e4f, 3e38f, kInfinity}) EXPECT_EQ(simd_exp(x), kInfinity) << x;
  EXPECT_TRUE(std::isnan(simd_exp(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_EQ(simd_sigmoid(-200.0f), 0.0f);
  EXPECT_EQ(simd_sigmoid(200.0f), 1.0f);
}

TEST(SimdMath, ExponentialIsTheSameFunctionOnEveryInstructionSet) {
  Tensor<float> x(Shape{8191});
  for (int64_t i = 0; i < x.size(); ++i) x[i] = -90.0f * static_cast<float>(i) / static_cast<float>(x.size());
  Tensor<double> expected(x.shape);
  for (int64_t i = 0; i < x.size(); ++i) expected[i] = x[i] < -87.33654f ? 0 : std::exp(static_cast<double>(x[i]));
  for (const Queue::Options& options : every_queue()) {
    Tensor<float> found = x;
    MEMRING_LOOPS(Queue(options), cross_entropy_loops).exponentials(found.data.data(), found.size());
    for (int64_t i = 0; i < x.size(); ++i)
      ASSERT_LE(std::abs(found[i] - expected[i]), 2e-7 * expected[i]) << "x = " << x[i] << ", " << text(options);
  }
}

}  // namespace
}  // namespace memring::test
