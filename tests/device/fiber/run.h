// Runs a kernel on fibers (tests/device/gpu/run.h: on a GPU). SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/cuda/fiber/lane.h"

#define MEMRING_WORLD on_fibers  // the namespace of what both worlds compile

namespace memring::on_fibers {

uint64_t seed();  ///< of the next kernel

/// Memory of the device, filled with these numbers.
template <class T>
class Numbers {
 public:
  explicit Numbers(const std::vector<T>& numbers) : numbers_(numbers) {}
  T* data() { return numbers_.data(); }
  std::vector<T> read() const { return numbers_; }

 private:
  std::vector<T> numbers_;
};

/// Kernel(arguments...) on each thread of the grid; returns when it is done.
template <auto Kernel, class... A>
void start(const Grid& grid, A... arguments) {
  fiber::run(grid, seed(), [=] { Kernel(arguments...); });
}

}  // namespace memring::on_fibers
