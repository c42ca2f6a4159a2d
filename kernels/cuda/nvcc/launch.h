// Launching kernels on a GPU (kernels/cuda/fiber/launch.h: on the host, and what this means). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include "base/queue.h"
#include "kernels/cuda/grid.h"

namespace memring {

cudaStream_t stream_of(const Queue&);

template <auto Kernel, class... A>
void launch(Queue& queue, const Grid& grid, A... arguments) {
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  Kernel<<<blocks, static_cast<unsigned>(grid.threads), static_cast<size_t>(grid.bytes), stream_of(queue)>>>(
      arguments...);
}

}  // namespace memring
