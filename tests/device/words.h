// The words that kernels are written with (lane.h, copy_async.h, ...), each in a kernel that writes what it found: what
// a GPU says and what fibers say must be the same bits. Operands are small integers, so that sums are exact in any
// order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace memring {

struct DeviceWord {
  std::string name;
  std::vector<uint32_t> (*found)();  ///< throws where the kernel fails
};

namespace on_fibers {
const std::vector<DeviceWord>& words();
const std::vector<DeviceWord>& hopper_words();
void set_seed(uint64_t seed);  ///< of the order of threads
}  // namespace on_fibers

namespace on_gpu {
const std::vector<DeviceWord>& words();
const std::vector<DeviceWord>& hopper_words();  ///< for compute capability 9.0 alone

struct Gpu {
  std::string name;  ///< or why none can be used
  bool usable = false, hopper = false;
};
Gpu gpu();
}  // namespace on_gpu

}  // namespace memring
