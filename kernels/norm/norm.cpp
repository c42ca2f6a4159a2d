// Sum of squares: the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm/norm.h"

#include "base/profile.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/norm/cpu.h"
#include "kernels/norm/cuda.h"
#include "kernels/norm/ref.h"

namespace memring {

double SquaredNorm::of(Queue& queue, ConstView<> x) {
  constexpr int64_t kBlock = 65536;
  double sum = 0;
  for (const double block : of_blocks(queue, x, queue.reference(x.dtype()) ? x.size() : kBlock)) sum += block;
  return sum;
}

void SquaredNorm::add(Queue& queue, View<double> sum, ConstView<> x) {
  expect_shape(sum, {1}, "SquaredNorm sum");
  if (queue.device()) {
    const Timed timed(queue, "SquaredNorm", 0, x);
    return norm_cuda->add(queue, sum, x);
  }
  *sum.as<double>() += of(queue, x);
}

std::vector<double> SquaredNorm::of_blocks(Queue& queue, ConstView<> x, int64_t block) {
  const Timed timed(queue, "SquaredNorm", 0, x);
  if (x.size() == 0) return {};
  std::vector<double> sums(static_cast<size_t>((x.size() + block - 1) / block));
  if (queue.reference(x.dtype()))
    by_float_type(x.dtype(), [&]<class T>() { reference::squared_norms<T>(sums, x.as<T>(), x.size(), block); });
  else
    cpu::squared_norms(queue, sums, x.as<float>(), x.size(), block);
  return sums;
}

SpaceBytes SquaredNormReader::bytes_beside_device() {
  Arena sum;
  sum.take(DType::F64, {1});
  return {sum.peak(), sum.peak()};
}

double SquaredNormReader::read(Queue& queue, ConstView<> x) {
  if (!queue.device()) return SquaredNorm::of(queue, x);
  if (arena_.measuring()) {
    arena_ = queue.arena(bytes_of(DType::F64));
    norm_.allocate(queue, 1);
  }
  arena_.rewind(0);
  const View<double> sum = arena_.take<double>({1});
  Elementwise::fill(queue, sum, 0);
  SquaredNorm::add(queue, sum, x);
  norm_.start(queue, sum);
  return norm_.wait(queue)[0];
}

}  // namespace memring
