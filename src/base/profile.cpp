// SPDX-License-Identifier: Apache-2.0
#include "base/profile.h"

#include <algorithm>

namespace memring {

void Profile::add(std::string_view name, double seconds, double flops, double bytes) {
  auto line = std::find_if(lines_.begin(), lines_.end(), [&](const Line& known) { return known.name == name; });
  if (line == lines_.end()) line = lines_.insert(line, {.name = name});
  ++line->calls;
  line->seconds += seconds;
  line->flops += flops;
  line->bytes += bytes;
}

std::vector<Profile::Line> Profile::lines() const {
  std::vector<Line> sorted = lines_;
  std::sort(sorted.begin(), sorted.end(), [](const Line& a, const Line& b) { return a.seconds > b.seconds; });
  return sorted;
}

}  // namespace memring
