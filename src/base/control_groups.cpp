// SPDX-License-Identifier: Apache-2.0
#include "base/control_groups.h"

#include <fmt/format.h>

#include <fstream>

namespace memring {
namespace {

namespace fs = std::filesystem;

/// The group at `path` below `root`, and its parents. A container may see its own group as the root, while the path is
/// the host's: then the path's end counts, as far as it is there.
void add_groups(std::vector<ControlGroup>& groups, const fs::path& root, const fs::path& path, bool version1) {
  std::vector<fs::path> steps;
  for (const fs::path& step : path)
    if (!step.empty() && step != "/" && step != "..") steps.push_back(step);
  const auto below = [&](size_t first, size_t last) {
    fs::path folder;
    for (size_t i = first; i < last; ++i) folder /= steps[i];
    return folder;
  };
  std::error_code unknown;
  size_t first = 0;
  while (first < steps.size() && !fs::is_directory(root / below(first, steps.size()), unknown)) ++first;
  for (size_t last = steps.size() + 1; last-- > first;) {
    const fs::path folder = below(first, last);
    groups.push_back({root / folder, fmt::format("/{}", folder.string()), version1});
  }
}

}  // namespace

std::vector<ControlGroup> control_groups(std::string_view controller, const fs::path& proc, const fs::path& root) {
  std::vector<ControlGroup> groups;
  std::ifstream file(proc / "self/cgroup");
  for (std::string line; std::getline(file, line);) {  // number:controllers:path; version 2 names no controllers
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const std::string path = line.substr(second + 1);
    if (controllers == ",,")
      for (const fs::path& mount : {root, root / "unified"}) add_groups(groups, mount, path, false);
    else if (controllers.find(fmt::format(",{},", controller)) != std::string::npos)
      add_groups(groups, root / fs::path(controller), path, true);
  }
  return groups;
}

}  // namespace memring
