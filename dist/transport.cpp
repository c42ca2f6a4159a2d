// SPDX-License-Identifier: Apache-2.0
#include "dist/transport.h"

#include <algorithm>

#include "base/error.h"

namespace memring {

void Transport::check_bounds(ConstView<> data, std::span<const int64_t> bounds) const {
  const bool whole =
      static_cast<int>(bounds.size()) == size() + 1 && bounds.front() == 0 && bounds.back() == data.size();
  if (!whole || !std::is_sorted(bounds.begin(), bounds.end()))
    throw ShapeError(fmt::format("{} ascending bounds from 0 to {} were expected, found {} from {} to {}", size() + 1,
                                 data.size(), bounds.size(), bounds.empty() ? 0 : bounds.front(),
                                 bounds.empty() ? 0 : bounds.back()));
}

}  // namespace memring
