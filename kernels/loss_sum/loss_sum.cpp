// Sums of losses: checks, and the one loop, which is the reference.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/loss_sum/loss_sum.h"

#include <cmath>

#include "base/profile.h"
#include "kernels/common/checks.h"
#include "kernels/loss_sum/cuda.h"

namespace memring {
namespace {

double term(double loss, bool strict) {
  // An fp32 loss of a half and more has no finer bits, and of a double's 53 bits 29 are left before the point.
  constexpr double kUnit = 0x1p-24;
  return strict ? std::nearbyint(loss / kUnit) * kUnit : loss;
}

}  // namespace

void LossSum::add(Queue& queue, View<double> sum, ConstView<> losses) {
  expect_shape(sum, {1}, "LossSum sum");
  expect_float(losses, 1, "LossSum losses");
  const Timed timed(queue, "LossSum", 0, losses);
  if (queue.device()) return loss_sum_cuda->add(queue, sum, losses);
  double& all = *sum.as<double>();
  by_float_type(losses.dtype(), [&]<class T>() {
    const T* const values = losses.as<T>();
    for (int64_t i = 0; i < losses.size(); ++i) all += term(static_cast<double>(values[i]), queue.block() > 0);
  });
}

}  // namespace memring
