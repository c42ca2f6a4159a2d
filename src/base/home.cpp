// SPDX-License-Identifier: Apache-2.0
#include "base/home.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

namespace memring {
namespace {

std::string home() {
  if (const char* set = std::getenv("HOME"); set && *set) return set;
  const passwd* user = getpwuid(getuid());
  return user && user->pw_dir ? user->pw_dir : "";
}

}  // namespace

std::string expand_home(const std::string& path) {
  if (path != "~" && !path.starts_with("~/")) return path;
  const std::string folder = home();
  return folder.empty() ? path : folder + path.substr(1);
}

}  // namespace memring
