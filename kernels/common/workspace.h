// How much of a device's memory operators write on for themselves.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring {

/// The most that an operator asks Queue::workspace for whose demand does not grow with its rows (as attention's does):
/// who makes a queue of a device gives it so much, or more.
constexpr int64_t kWorkspaceBytes = 8 << 10;

}  // namespace memring
