// Attention on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/attention/attention.h"

namespace memring {

struct AttentionKernels {
  decltype(&LocalAttention::forward_part) forward_part;
  decltype(&LocalAttention::backward_part) backward_part;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const AttentionKernels* const attention_cuda;

}  // namespace memring
