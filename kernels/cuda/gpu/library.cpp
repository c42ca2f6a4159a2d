// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/gpu/library.h"

#include <dlfcn.h>
#include <fmt/ranges.h>

#include <filesystem>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "base/surroundings.h"

namespace memring {
namespace {

namespace fs = std::filesystem;

/// The folders in this one, none where it cannot be read.
std::vector<fs::path> folders_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.is_directory(error)) found.push_back(entry.path());
  return found;
}

std::vector<fs::path> folders_of_the_user() {
  std::vector<fs::path> folders;
  std::istringstream listed(variable("MEMRING_CUDA_LIBRARIES"));
  for (std::string folder; std::getline(listed, folder, ':');)
    if (!folder.empty()) folders.emplace_back(folder);
  return folders;
}

std::vector<fs::path> folders_of_the_toolkit_and_python() {
  std::vector<fs::path> folders;
  if (const std::string toolkit = variable("CUDA_PATH"); !toolkit.empty())
    folders.push_back(fs::path(toolkit) / "lib64");
  folders.emplace_back("/usr/local/cuda/lib64");
  for (const char* environment : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string root = variable(environment); !root.empty())
      for (const fs::path& python : folders_in(fs::path(root) / "lib"))
        for (const fs::path& package : folders_in(python / "site-packages" / "nvidia"))
          folders.push_back(package / "lib");
  return folders;
}

}  // namespace

Library::Library(const std::string& soname) : soname_(soname) {
  std::vector<std::string> looked;
  std::string refused;  // why the first that is there could not be opened
  const auto open_in = [&](const std::vector<fs::path>& folders) {
    for (const fs::path& folder : folders) {
      if (opened_) return;
      const fs::path file = folder / soname;
      looked.push_back(folder.string());
      std::error_code error;
      if (!fs::exists(file, error)) continue;
      opened_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (!opened_ && refused.empty()) refused = dlerror();
    }
  };
  open_in(folders_of_the_user());
  if (!opened_) opened_ = dlopen(soname.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!opened_) open_in(folders_of_the_toolkit_and_python());
  if (opened_) return;
  const std::string hint = "Set MEMRING_CUDA_LIBRARIES to the folder that holds it, or device.kind = cpu.";
  if (!refused.empty()) throw Error(ExitCode::Usage, fmt::format("{} could not be opened: {}", soname, refused), hint);
  throw Error(ExitCode::Usage,
              fmt::format("{} was found neither by the loader nor in {}", soname, fmt::join(looked, ", ")), hint);
}

void* Library::address_of(const char* name) const {
  void* const address = dlsym(opened_, name);
  if (!address)
    throw Error(ExitCode::Usage, fmt::format("{} has no function {}", soname_, name),
                "It is older than the one that memring was built for: install that.");
  return address;
}

}  // namespace memring
