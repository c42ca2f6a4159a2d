// Runs a kernel on a GPU (tests/device/fiber/run.h: on fibers). SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/grid.h"

#define MEMRING_WORLD on_gpu

namespace memring::on_gpu {

inline void expect_success(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

template <class T>
class Numbers {
 public:
  explicit Numbers(const std::vector<T>& numbers) : count_(numbers.size()) {
    expect_success(cudaMalloc(&data_, bytes()), "cudaMalloc");
    expect_success(cudaMemcpy(data_, numbers.data(), bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~Numbers() { cudaFree(data_); }
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;
  T* data() { return data_; }
  std::vector<T> read() const {
    std::vector<T> numbers(count_);
    expect_success(cudaMemcpy(numbers.data(), data_, bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return numbers;
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }
  size_t count_;
  T* data_ = nullptr;
};

template <auto Kernel, class... A>
void start(const Grid& grid, A... arguments) {
  expect_success(
      cudaFuncSetAttribute(Kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(grid.bytes)),
      "the block's memory");
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  Kernel<<<blocks, static_cast<unsigned>(grid.threads), static_cast<size_t>(grid.bytes)>>>(arguments...);
  expect_success(cudaGetLastError(), "the launch");
  expect_success(cudaDeviceSynchronize(), "the kernel");
}

}  // namespace memring::on_gpu
