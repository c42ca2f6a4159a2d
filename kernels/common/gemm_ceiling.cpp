// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/gemm_ceiling.h"

#include "base/random.h"
#include "kernels/common/bf16_matmul.h"
#include "kernels/common/gemm.h"

namespace memring {
namespace {

std::vector<float> random_matrix(int64_t size, uint64_t sample) {
  const Random random(1, Purpose::Test, sample);
  std::vector<float> x(static_cast<size_t>(size));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random.uniform(static_cast<uint32_t>(i)) - 0.5);
  return x;
}

}  // namespace

GemmCeiling::GemmCeiling(const Queue& queue)
    : queue_(queue), a_(random_matrix(kRows * kIn, 1)), b_(random_matrix(kIn * kOut, 2)), c_(kRows * kOut) {
  if (queue.products() == Products::Bf16 && bf16_matmul_is_fast()) {
    constexpr uint16_t kOne = 0x3f80;  // the rate does not depend on values
    a_bf16_.assign(a_.size(), kOne);
    b_bf16_.assign(b_.size(), kOne);
  }
  run();
}

void GemmCeiling::run() {
  if (a_bf16_.empty()) {
    Queue::Options options = queue_.options();
    options.products = Products::F32;
    gemm(Queue(options), Transpose::No, Transpose::No, kRows, kOut, kIn, a_.data(), kIn, b_.data(), kOut,
         Write::Overwrite, c_.data(), kOut);
  } else {
    bf16_matmul(Transpose::No, Transpose::No, kRows, kOut, kIn, a_bf16_.data(), b_bf16_.data(), Write::Overwrite,
                c_.data(), kOut);
  }
}

}  // namespace memring
