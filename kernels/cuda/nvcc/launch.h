// Launching kernels on a GPU (kernels/cuda/fiber/launch.h: on the host, and what this means). Private to kernels/.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include "base/queue.h"
#include "kernels/cuda/grid.h"
#include "kernels/cuda/refuse_launch.h"

namespace memring {

cudaStream_t stream_of(const Queue&);

/// A queue, and where in the source it was given: a launch has no room for a default argument behind its pack.
struct QueueHere {
  Queue& queue;
  const char* file;
  int line;
  QueueHere(Queue& given, const char* where = __builtin_FILE(), int there = __builtin_LINE())
      : queue(given), file(where), line(there) {}
};

/// More of a block's memory than 48 KiB is to be asked for, once a kernel. Whether it was granted the launch tells.
template <auto Kernel>
void ask_for_memory(int64_t bytes) {
  static int64_t granted = 48 << 10;
  if (bytes <= granted) return;
  cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  granted = bytes;
}

/// Throws Error(Internal) with the place of a launch that fails, or that hears of an earlier kernel's failure.
template <auto Kernel, class... A>
void launch(QueueHere here, const Grid& grid, A... arguments) {
  ask_for_memory<Kernel>(grid.bytes);
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  Kernel<<<blocks, static_cast<unsigned>(grid.threads), static_cast<size_t>(grid.bytes), stream_of(here.queue)>>>(
      arguments...);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess)
    refuse_launch(here.file, here.line, grid, cudaGetErrorString(error));
}

}  // namespace memring
