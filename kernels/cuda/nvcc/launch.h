// Launching kernels on a GPU (kernels/cuda/fiber/launch.h: on the host, and what this means). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include "base/queue.h"
#include "kernels/cuda/grid.h"
#include "kernels/cuda/refuse_launch.h"

namespace memring {

cudaStream_t stream_of(const Queue&);

constexpr int64_t kBytesUnasked = 48 << 10;  ///< of a block: a kernel must ask for more

/// A queue, and where in the source it was given: a launch has no room for a default argument behind its pack.
struct QueueHere {
  Queue& queue;
  const char* file;
  int line;
  QueueHere(Queue& given, const char* where = __builtin_FILE(), int there = __builtin_LINE())
      : queue(given), file(where), line(there) {}
};

/// Throws Error(Internal) with the place of a launch that fails, or that hears of an earlier kernel's failure.
template <auto Kernel, class... A>
void launch(QueueHere here, const Grid& grid, A... arguments) {
  cudaError_t error = cudaSuccess;
  if (grid.bytes > kBytesUnasked)
    error = cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(grid.bytes));
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  if (error == cudaSuccess) {
    Kernel<<<blocks, static_cast<unsigned>(grid.threads), static_cast<size_t>(grid.bytes), stream_of(here.queue)>>>(
        arguments...);
    error = cudaGetLastError();
  }
  if (error != cudaSuccess) refuse_launch(here.file, here.line, grid, cudaGetErrorString(error));
}

}  // namespace memring
