// Operators on the twin of a device, or with the kernels of a device on fibers.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/twin/device.h"
#include "on_device.h"

namespace memring::test {

void share_host_memory(Device& device) { static_cast<TwinDevice&>(device).share_host_memory(); }
void settle(Device& device) { static_cast<TwinDevice&>(device).settle(); }

}  // namespace memring::test
