// What tests of operators need of the device that they run on: twin.cpp and gpu.cpp say it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/device.h"

namespace memring::test {

/// From now on the device takes the host's addresses of tensors.
void share_host_memory(Device&);
/// All that was enqueued has happened; throws what went wrong.
void settle(Device&);

}  // namespace memring::test
