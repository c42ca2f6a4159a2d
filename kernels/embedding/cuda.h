// Embedding on a device: the front's functions once more, behind its checks. Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/embedding/embedding.h"

namespace memring {

struct EmbeddingKernels {
  decltype(&Embedding::forward) forward;
  decltype(&Embedding::backward) backward;
};
/// Null in a program without such a backend, where no queue of it can exist.
extern const EmbeddingKernels* const embedding_cuda;

}  // namespace memring
