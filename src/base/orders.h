// Orders of rows with a meaning of their own (base/ids.h); constants alone, for loops that are compiled several times.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>

namespace memring {

/// Orders of attention sinks are [kFirstSink, kSinksEnd): no `from` of a row leaves them behind (Xiao et al. 2023,
/// "Efficient streaming language models with attention sinks").
inline constexpr int32_t kFirstSink = std::numeric_limits<int32_t>::min() + 1, kSinksEnd = -(1 << 30);

}  // namespace memring
