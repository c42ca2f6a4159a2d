// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime.h>

#include "tests/device/words.h"

namespace memring::on_gpu {

Gpu gpu() {
  cudaDeviceProp facts;
  const cudaError_t error = cudaGetDeviceProperties(&facts, 0);
  if (error != cudaSuccess) return {std::string("no usable GPU: ") + cudaGetErrorString(error)};
  return {facts.name, facts.major >= 8, facts.major == 9};
}

}  // namespace memring::on_gpu
