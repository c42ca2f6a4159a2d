// Operators on a GPU: all memory of this program that `new` gives is the GPU's too, as one block that the CUDA runtime
// moves to whoever touches it.
// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#include "base/error.h"
#include "kernels/cuda/gpu/device.h"
#include "on_device.h"

namespace memring::test {
namespace {

/// Pieces of powers of two, each behind a head that holds which; where there is no GPU, the host's own memory.
class ManagedMemory {
 public:
  void* take(size_t bytes) {
    const std::scoped_lock lock(mutex_);
    const auto power = static_cast<size_t>(std::bit_width(bytes + sizeof(Head) - 1));
    Head*& free = free_[power];
    Head* piece = free;
    if (piece)
      free = piece->next;
    else
      piece = carve(size_t{1} << power);
    if (!piece) return nullptr;
    piece->power = power;
    return piece + 1;
  }
  void give(void* memory) {
    if (!memory) return;
    const std::scoped_lock lock(mutex_);
    Head* const piece = static_cast<Head*>(memory) - 1;
    piece->next = free_[piece->power];
    free_[piece->power] = piece;
  }

 private:
  struct alignas(32) Head {
    size_t power;
    Head* next;
  };
  Head* carve(size_t bytes) {
    if (!begin_) {
      void* block = nullptr;
      if (cudaMallocManaged(&block, kBytes, cudaMemAttachGlobal) != cudaSuccess) block = std::malloc(kBytes);
      begin_ = static_cast<std::byte*>(block);
    }
    if (!begin_ || kBytes - used_ < bytes) return nullptr;
    used_ += bytes;
    return reinterpret_cast<Head*>(begin_ + used_ - bytes);
  }

  static constexpr size_t kBytes = size_t{4} << 30;  // addresses: pages come when they are touched
  std::mutex mutex_;
  std::byte* begin_ = nullptr;
  size_t used_ = 0;
  std::array<Head*, 64> free_{};
};

constinit ManagedMemory managed;

}  // namespace

void share_host_memory(Device&) {}

// Asked before each number that a test reads, millions of times: some microseconds each would be minutes.
void settle(Device& device) {
  static int64_t settled = -1;
  const int64_t uses = static_cast<GpuDevice&>(device).uses();
  if (std::exchange(settled, uses) == uses) return;
  const cudaError_t error = cudaDeviceSynchronize();
  check(error == cudaSuccess, cudaGetErrorString(error));
}

}  // namespace memring::test

void* operator new(size_t bytes) {
  if (void* const memory = memring::test::managed.take(bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { memring::test::managed.give(memory); }
void operator delete(void* memory, size_t) noexcept { memring::test::managed.give(memory); }

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  GTEST_FLAG_SET(filter, "-" MEMRING_NOT_OF_KERNELS);  // unless an argument says otherwise
  testing::InitGoogleTest(&argc, argv);
  const bool there = memring::device_count() > 0;
  if (!there) std::puts("no GPU is here: nothing was tested");
  const int result = there ? RUN_ALL_TESTS() : kSkipped;
  std::fflush(nullptr);
  std::_Exit(result);  // tensors of static duration would wait for a GPU whose runtime has ended
}
