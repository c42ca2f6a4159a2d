// SPDX-License-Identifier: Apache-2.0
#include "engine_runs.h"

namespace memring {

DeviceKind device_under_test() { return DeviceKind::Cpu; }

}  // namespace memring
