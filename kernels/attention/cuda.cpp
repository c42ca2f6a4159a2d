// Attention on a device: which of its kernels.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/cuda.h"

#include "kernels/attention/simple.h"

namespace memring {
namespace {

const AttentionKernels kernels{simple_attention::forward_part, simple_attention::backward_part};

}  // namespace

const AttentionKernels* const attention_cuda = &kernels;

}  // namespace memring
