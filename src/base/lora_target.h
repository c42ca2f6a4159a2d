// The linear layers of a decoder layer that a low-rank update may be trained on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace memring {

enum class LoraTarget : uint8_t { Q, K, V, O, Gate, Up, Down };

}  // namespace memring
