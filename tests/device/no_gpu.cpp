// A build without nvcc has no kernels for a GPU. SPDX-License-Identifier: Apache-2.0
#include "tests/device/words.h"

namespace memring::on_gpu {

const std::vector<DeviceWord>& words() {
  static const std::vector<DeviceWord> none;
  return none;
}
const std::vector<DeviceWord>& hopper_words() { return words(); }
Gpu gpu() { return {"no usable GPU: built without nvcc (launch/build.sh --preset cuda)"}; }

}  // namespace memring::on_gpu
